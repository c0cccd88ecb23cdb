// PieceCursor: the pieces of a bucket as one row of bytes, whatever is taken at a time.
#include "collectives/piece_cursor.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

namespace rueda::collectives {
namespace {

struct Pieces {
  explicit Pieces(const std::vector<int64_t>& counts, DType dtype = DType::kFloat32) {
    for (const int64_t count : counts) {
      memory.emplace_back(static_cast<size_t>(count) * SizeOf(dtype) + 1);
      views.push_back({memory.back().data(), count, dtype});
    }
  }
  std::vector<uint8_t*> AllBytes() const {
    std::vector<uint8_t*> bytes;
    for (const TensorView& view : views) {
      for (size_t i = 0; i < view.bytes(); ++i)
        bytes.push_back(static_cast<uint8_t*>(view.data) + i);
    }
    return bytes;
  }
  std::vector<std::vector<uint8_t>> memory;
  std::vector<TensorView> views;
};

std::vector<uint8_t*> Take(PieceCursor& cursor, int64_t bytes) {
  std::vector<uint8_t*> taken;
  cursor.Next(bytes, [&](uint8_t* at, size_t part) {
    REQUIRE(part > 0);
    for (size_t i = 0; i < part; ++i) taken.push_back(at + i);
  });
  return taken;
}

TEST_CASE("every byte is visited once, in order, however many are taken", "[piece_cursor]") {
  const uint64_t seed = GENERATE(range(1u, 21u));
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  std::vector<int64_t> counts(random() % 10);
  for (int64_t& count : counts) {
    count = random() % 3 == 0 ? 0 : static_cast<int64_t>(random() % 50);
  }
  const Pieces pieces(counts);
  const std::vector<uint8_t*> all = pieces.AllBytes();
  PieceCursor cursor(pieces.views);
  std::vector<uint8_t*> visited;
  while (visited.size() < all.size()) {
    const size_t wanted = random() % 60;
    const std::vector<uint8_t*> taken = Take(cursor, static_cast<int64_t>(wanted));
    REQUIRE(taken.size() == std::min(wanted, all.size() - visited.size()));
    visited.insert(visited.end(), taken.begin(), taken.end());
  }
  CHECK(visited == all);
  CHECK(Take(cursor, 100).empty());
}

TEST_CASE("parts hold whole elements if whole elements are taken", "[piece_cursor]") {
  const Pieces pieces({3, 0, 1, 7, 2}, DType::kFloat64);
  PieceCursor cursor(pieces.views);
  for (int i = 0; i < 5; ++i) {
    cursor.Next(3 * 8, [](uint8_t*, size_t part) { CHECK(part % 8 == 0); });
  }
}

TEST_CASE("pieces are taken in as few parts as they have", "[piece_cursor]") {
  const Pieces pieces({5, 5, 0, 5});
  PieceCursor cursor(pieces.views);
  int parts = 0;
  cursor.Next(60, [&](uint8_t*, size_t part) { CHECK((++parts, part == 20)); });
  CHECK(parts == 3);
}

TEST_CASE("no pieces and no bytes visit nothing", "[piece_cursor]") {
  PieceCursor none;
  CHECK(Take(none, 10).empty());
  const Pieces empty({0, 0});
  PieceCursor cursor(empty.views);
  CHECK(Take(cursor, 10).empty());
  const Pieces some({4});
  PieceCursor start(some.views);
  CHECK(Take(start, 0).empty());
  CHECK(Take(start, 16).size() == 16);
}

TEST_CASE("what is passed over is not visited, and what follows is", "[piece_cursor]") {
  const Pieces pieces({3, 0, 5, 1, 7});
  const std::vector<uint8_t*> all = pieces.AllBytes();
  std::mt19937_64 random(4);
  PieceCursor cursor(pieces.views);
  size_t at = 0;
  for (bool skips = false; at < all.size(); skips = !skips) {
    const size_t bytes = std::min(all.size() - at, static_cast<size_t>(random() % 20));
    if (skips) {
      cursor.Skip(static_cast<int64_t>(bytes));
    } else {
      const auto from = all.begin() + static_cast<std::ptrdiff_t>(at);
      const std::vector<uint8_t*> expected(from, from + static_cast<std::ptrdiff_t>(bytes));
      REQUIRE(Take(cursor, static_cast<int64_t>(bytes)) == expected);
    }
    at += bytes;
  }
  CHECK(Take(cursor, 1).empty());
}

TEST_CASE("two rows are walked in step, wherever their pieces end", "[piece_cursor]") {
  const Pieces first({3, 4, 9}), second({5, 0, 1, 10});
  const std::vector<uint8_t*> of_first = first.AllBytes(), of_second = second.AllBytes();
  PieceCursor a(first.views), b(second.views);
  size_t at = 0;
  for (const int64_t bytes : {12, 0, 20, 32}) {
    NextOfBoth(&a, &b, bytes, [&](uint8_t* one, uint8_t* other, int64_t part) {
      REQUIRE(part > 0);
      for (int64_t i = 0; i < part; ++i, ++at) {
        REQUIRE(one + i == of_first[at]);
        REQUIRE(other + i == of_second[at]);
      }
    });
  }
  CHECK(at == of_first.size());
}

}  // namespace
}  // namespace rueda::collectives
