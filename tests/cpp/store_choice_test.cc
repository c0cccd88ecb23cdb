// StoreChoice against processors that are simulated: it settles on the way that costs less there.
#include "backends/shm/store_choice.h"

#include <catch2/catch.hpp>
#include <cstdint>

namespace rueda::backends {
namespace {

constexpr int64_t kUnitBytes = 128 << 10;

// What a unit costs by the way it is written, and every tenth one much more: its rank lost the
// core.
struct Machine {
  Duration in_caches;
  Duration past_them;

  Duration Cost(bool streams, int unit) const {
    return (streams ? past_them : in_caches) * (unit % 10 == 9 ? 50 : 1);
  }
};

constexpr Machine kShared{std::chrono::microseconds(8), std::chrono::microseconds(12)};
constexpr Machine kApart{std::chrono::microseconds(150), std::chrono::microseconds(20)};

// How many of the units went past the caches.
int Run(StoreChoice& choice, const Machine& machine, int units) {
  int streamed = 0;
  for (int unit = 0; unit < units; ++unit) {
    streamed += choice.streams() ? 1 : 0;
    choice.Measured(kUnitBytes, machine.Cost(choice.streams(), unit));
  }
  return streamed;
}

TEST_CASE("ranks that share a cache stay in it but for trials", "[store_choice]") {
  StoreChoice choice;
  CHECK_FALSE(choice.streams());
  const int streamed = Run(choice, kShared, 20'000);
  CHECK(streamed > 0);
  CHECK(streamed < 20'000 / 50);
}

TEST_CASE("ranks that do not share a cache soon leave it out but for trials", "[store_choice]") {
  StoreChoice choice;
  Run(choice, kApart, 100);
  CHECK(choice.streams());
  CHECK(Run(choice, kApart, 20'000) > 20'000 * 49 / 50);
}

TEST_CASE("the choice follows processors that move", "[store_choice]") {
  StoreChoice choice;
  for (int i = 0; i < 5; ++i) {
    CAPTURE(i);
    // A trial of what costs less by a third may take two of the longest pauses.
    Run(choice, kShared, 2 * StoreChoice::kMostPause * StoreChoice::kWindow);
    CHECK(Run(choice, kShared, 1'000) < 100);
    // Costs that rise as much as here raise an alarm.
    Run(choice, kApart, 2'000);
    CHECK(Run(choice, kApart, 1'000) > 900);
  }
}

TEST_CASE("the other way has to be clearly better", "[store_choice]") {
  StoreChoice choice;
  const Machine alike{std::chrono::microseconds(10), std::chrono::microseconds(9)};
  CHECK(Run(choice, alike, 20'000) < 20'000 / 50);
}

}  // namespace
}  // namespace rueda::backends
