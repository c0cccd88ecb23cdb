// StagingRing against a model: units that may still be read never share memory.
#include "backends/shm/staging_ring.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

namespace rueda::backends {
namespace {

constexpr int64_t kAlignment = 128;

struct Unit {
  StagingRing::Place place;
  int64_t bytes;
};

bool Overlap(const Unit& a, const Unit& b) {
  return a.bytes > 0 && b.bytes > 0 && a.place.offset < b.place.offset + b.bytes &&
         b.place.offset < a.place.offset + a.bytes;
}

// Places units of `next_bytes()` and checks each against all that may be alive when it is packed:
// those from `reusable_after` on.
template <typename NextBytes>
std::vector<Unit> PlaceAll(StagingRing& ring, int64_t ring_bytes, int count, NextBytes next_bytes) {
  std::vector<Unit> units;
  for (int i = 0; i < count; ++i) {
    CAPTURE(i);
    REQUIRE(ring.placed() == units.size());
    const int64_t bytes = next_bytes();
    const Unit unit{ring.Next(bytes), bytes};
    REQUIRE(unit.place.offset >= 0);
    REQUIRE(unit.place.offset + bytes <= ring_bytes);
    REQUIRE(unit.place.offset % kAlignment == 0);
    // It never waits for itself or what comes later, and what was free stays free.
    REQUIRE(unit.place.reusable_after <= units.size());
    if (!units.empty()) REQUIRE(unit.place.reusable_after >= units.back().place.reusable_after);
    for (size_t live = unit.place.reusable_after; live < units.size(); ++live) {
      if (Overlap(unit, units[live])) FAIL("shares memory with unit " << live);
    }
    units.push_back(unit);
  }
  return units;
}

TEST_CASE("units that may be alive never share memory", "[staging_ring]") {
  const int64_t ring_bytes = GENERATE(1 << 10, 1 << 16, 4 << 20);
  const uint64_t seed = GENERATE(1u, 2u, 3u);
  CAPTURE(ring_bytes, seed);
  std::mt19937_64 random(seed);
  StagingRing ring(ring_bytes);
  PlaceAll(ring, ring_bytes, 5'000, [&]() -> int64_t {
    const uint64_t sort = random() % 8;
    if (sort == 0) return 0;
    if (sort == 1) return ring_bytes;
    if (sort == 2) return ring_bytes / 8;
    return static_cast<int64_t>(random() % static_cast<uint64_t>(ring_bytes / (1 << sort) + 1));
  });
}

TEST_CASE("eight chunks are under way at a time", "[staging_ring]") {
  constexpr int64_t kChunk = 512 << 10;
  StagingRing ring(8 * kChunk);
  const auto units = PlaceAll(ring, 8 * kChunk, 100, [] { return kChunk; });
  for (size_t i = 0; i < units.size(); ++i) {
    CHECK(units[i].place.offset == static_cast<int64_t>(i % 8) * kChunk);
    CHECK(units[i].place.reusable_after == (i < 8 ? 0 : i - 7));
  }
}

TEST_CASE("small units walk through the whole ring before memory is used again", "[staging_ring]") {
  constexpr int64_t kBytes = 1 << 16;
  StagingRing ring(kBytes);
  std::set<int64_t> offsets;
  const auto units = PlaceAll(ring, kBytes, 512, [] { return 100; });
  for (const Unit& unit : units) offsets.insert(unit.place.offset);
  CHECK(offsets.size() == 512);
  CHECK(units.back().place.reusable_after == 0);
}

TEST_CASE("more tiny units than are remembered wait for the forgotten ones", "[staging_ring]") {
  // 4 MiB hold 32768 units of a line each, far more than the ring remembers.
  constexpr int64_t kBytes = 4 << 20;
  const int64_t bytes = GENERATE(0, 1);
  StagingRing ring(kBytes);
  const auto units = PlaceAll(ring, kBytes, 70'000, [&] { return bytes; });
  const uint64_t most = units.size() - units.back().place.reusable_after;
  CHECK(most >= 256);  // ranks may be that far apart
  CHECK(most <= 512);
}

TEST_CASE("two rings given the same units agree", "[staging_ring]") {
  std::mt19937_64 random(5);
  StagingRing first(1 << 20), second(1 << 20);
  for (int i = 0; i < 2'000; ++i) {
    const auto bytes = static_cast<int64_t>(random() % (1 << 19));
    const auto a = first.Next(bytes), b = second.Next(bytes);
    REQUIRE(a.offset == b.offset);
    REQUIRE(a.reusable_after == b.reusable_after);
  }
}

}  // namespace
}  // namespace rueda::backends
