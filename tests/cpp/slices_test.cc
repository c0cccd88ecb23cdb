// Slices partition a bucket: every byte has one owner, borders are aligned, shares are even.
#include "collectives/slices.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

namespace rueda::collectives {
namespace {

TEST_CASE("slices partition a bucket evenly, on borders of the grain", "[slices]") {
  const int owners = GENERATE(1, 2, 3, 4, 7, 8, 64);
  const int64_t grain = GENERATE(1, 4, 64, 4'096);
  CAPTURE(owners, grain);
  std::mt19937_64 random(static_cast<uint64_t>(owners * 10'000 + grain));
  for (int i = 0; i < 200; ++i) {
    const int64_t total = static_cast<int64_t>(random() % (uint64_t{1} << (random() % 40)));
    CAPTURE(total);
    int64_t smallest = total, largest = 0, end = 0;
    for (int owner = 0; owner < owners; ++owner) {
      const Range slice = SliceOf(total, owners, owner, grain);
      REQUIRE(slice.begin == end);
      REQUIRE(slice.end >= slice.begin);
      REQUIRE((slice.begin % grain == 0 || slice.begin == total));
      end = slice.end;
      smallest = std::min(smallest, slice.size());
      largest = std::max(largest, slice.size());
    }
    REQUIRE(end == total);
    REQUIRE(largest - smallest <= grain);
  }
}

TEST_CASE("nothing is divided into nothings", "[slices]") {
  for (int owner = 0; owner < 5; ++owner) CHECK(SliceOf(0, 5, owner, 64) == Range{0, 0});
}

TEST_CASE("less than a grain belongs to one owner", "[slices]") {
  int with_bytes = 0;
  for (int owner = 0; owner < 3; ++owner) with_bytes += SliceOf(63, 3, owner, 64).size() > 0;
  CHECK(with_bytes == 1);
}

TEST_CASE("one owner has everything", "[slices]") {
  CHECK(SliceOf(12'345, 1, 0, 64) == Range{0, 12'345});
}

TEST_CASE("the largest arena divides without overflow", "[slices]") {
  const int64_t total = int64_t{1} << 46;
  CHECK(SliceOf(total, 1'024, 1'023, 64).end == total);
  CHECK(SliceOf(total, 1'024, 1'023, 64).size() == total / 1'024);
}

}  // namespace
}  // namespace rueda::collectives
