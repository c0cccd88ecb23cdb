// CopyStreaming: every byte, at any alignment and length, and none around them.
#include "device/copy.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <numeric>
#include <vector>

namespace rueda::device {
namespace {

TEST_CASE("a streaming copy is exact at any alignment and length", "[copy]") {
  constexpr uint8_t kAround = 0xa5;
  constexpr size_t kMargin = 128;
  std::vector<uint8_t> source(5'000);
  std::iota(source.begin(), source.end(), uint8_t{1});
  for (const size_t bytes : {0u, 1u, 15u, 63u, 64u, 65u, 127u, 128u, 200u, 4'096u, 4'800u}) {
    for (size_t to = 0; to < 64; to += 7) {
      const size_t from = (to * 13) % 64;
      CAPTURE(bytes, to, from);
      std::vector<uint8_t> target(bytes + to + kMargin, kAround);
      CopyStreaming(target.data() + to, source.data() + from, static_cast<int64_t>(bytes));
      const auto begin = target.begin() + static_cast<std::ptrdiff_t>(to);
      const auto end = begin + static_cast<std::ptrdiff_t>(bytes);
      const auto is_around = [](uint8_t byte) { return byte == kAround; };
      CHECK(std::equal(begin, end, source.begin() + static_cast<std::ptrdiff_t>(from)));
      CHECK(std::all_of(target.begin(), begin, is_around));
      CHECK(std::all_of(end, target.end(), is_around));
    }
  }
}

}  // namespace
}  // namespace rueda::device
