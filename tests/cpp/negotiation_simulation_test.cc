// Seeded simulation of the negotiation: ranks, links and a coordinator in random order (I1 to I3).
//
// Every message goes through its bytes. A failing seed is the bug report; it is printed, and
//   <test program> "the negotiation keeps its invariants" -c "seed 123"
// runs it alone.
#include "negotiation_simulation.h"

#include <catch2/catch.hpp>

#include "seeds.h"

namespace rueda::control {
namespace {

constexpr uint64_t kSeeds = 600;

}  // namespace

TEST_CASE("the negotiation keeps its invariants", "[simulation][one-thread]") {
  for (uint64_t seed = 0; seed < testing::SeedsOf(kSeeds); ++seed) {
    DYNAMIC_SECTION("seed " << seed) { REQUIRE(Simulation(seed).Run() == ""); }
  }
}

TEST_CASE("the simulation reaches what it is meant to", "[simulation][one-thread]") {
  Figures total;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Simulation simulation(seed);
    REQUIRE(simulation.Run() == "");
    const Figures figures = simulation.TakeFigures();
    total.full_offers += figures.full_offers;
    total.bit_offers += figures.bit_offers;
    total.results += figures.results;
    total.mismatches += figures.mismatches;
    total.peers_left += figures.peers_left;
    total.withdrawn += figures.withdrawn;
    total.buckets += figures.buckets;
    total.in_place += figures.in_place;
    total.absences += figures.absences;
    total.changes += figures.changes;
  }
  CAPTURE(total.full_offers, total.bit_offers, total.results, total.mismatches, total.peers_left,
          total.withdrawn, total.buckets, total.in_place, total.absences, total.changes);
  CHECK(total.bit_offers > 2000);
  CHECK(total.full_offers > 2000);
  CHECK(total.results > 5000);
  CHECK(total.mismatches > 100);
  CHECK(total.peers_left > 100);
  CHECK(total.withdrawn > 50);
  CHECK(total.in_place > 100);
  CHECK(total.buckets > 2000);
  CHECK(total.absences > 500);
  CHECK(total.changes > 300);
}

TEST_CASE("the same order of offers gives the same bytes of frames", "[simulation][one-thread]") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Simulation one(seed);
    Simulation other(seed);
    REQUIRE(one.Run() == other.Run());
    REQUIRE(one.TakeFigures().frames == other.TakeFigures().frames);
  }
}

}  // namespace rueda::control
