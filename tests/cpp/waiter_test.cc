// Waiter: pauses, then yields, then sleep; slow yields are given up for longer and longer.
#include "transport/waiter.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <vector>

namespace rueda::transport {
namespace {

using Next = Waiter::Next;
constexpr Duration kSlow = Waiter::kSlowYield + std::chrono::nanoseconds(1);

// What one wait does until it sleeps.
std::vector<Next> OneWait(Waiter& waiter) {
  waiter.Reset();
  std::vector<Next> steps;
  do {
    steps.push_back(waiter.Decide());
  } while (steps.back() != Next::kSleep);
  return steps;
}

std::vector<Next> Steps(int pauses, int yields) {
  std::vector<Next> steps(static_cast<size_t>(pauses), Next::kPause);
  steps.insert(steps.end(), static_cast<size_t>(yields), Next::kYield);
  steps.push_back(Next::kSleep);
  return steps;
}

const std::vector<Next> kWithYields = Steps(Waiter::kSpin.pauses, Waiter::kSpin.yields);
const std::vector<Next> kWithoutYields = Steps(Waiter::kSpin.pauses, 0);

// How many waits in a row go without yields from here on.
int WaitsWithoutYields(Waiter& waiter) {
  int waits = 0;
  while (OneWait(waiter) == kWithoutYields) ++waits;
  return waits;
}

TEST_CASE("a wait is pauses, then yields, then sleep", "[waiter]") {
  Waiter waiter;
  for (int i = 0; i < 3; ++i) CHECK(OneWait(waiter) == kWithYields);
  // Until it is reset it stays asleep.
  for (int i = 0; i < 5; ++i) CHECK(waiter.Decide() == Next::kSleep);
  waiter.Reset();
  CHECK(waiter.Decide() == Next::kPause);
}

TEST_CASE("a wait is as long as it is told to be, until it is told again", "[waiter]") {
  Waiter waiter;
  for (const Waiter::Spin spin : {Waiter::kCrowdSpin, Waiter::kCallSpin, Waiter::kSpin}) {
    waiter.Reset(spin);
    for (int i = 0; i < 2; ++i) CHECK(OneWait(waiter) == Steps(spin.pauses, spin.yields));
    waiter.YieldTook(kSlow);
    CHECK(OneWait(waiter) == Steps(spin.pauses, 0));
    waiter = Waiter();
  }
}

TEST_CASE("finding something starts the next wait with pauses, wherever it came", "[waiter]") {
  const int found_after = GENERATE(0, 1, 49, 50, 51, 113, 114);
  Waiter waiter;
  for (int i = 0; i < found_after; ++i) (void)waiter.Decide();
  CHECK(OneWait(waiter) == kWithYields);
}

TEST_CASE("pauses that are skipped are those of this wait", "[waiter]") {
  const int skipped_after = GENERATE(0, 1, 49, 50, 60);
  Waiter waiter;
  for (int i = 0; i < skipped_after; ++i) (void)waiter.Decide();
  waiter.SkipPauses();
  const int yields_left = Waiter::kSpin.yields - std::max(0, skipped_after - Waiter::kSpin.pauses);
  for (int i = 0; i < yields_left; ++i) CHECK(waiter.Decide() == Next::kYield);
  // Said again, it takes nothing back.
  waiter.SkipPauses();
  CHECK(waiter.Decide() == Next::kSleep);
  CHECK(OneWait(waiter) == kWithYields);
}

TEST_CASE("yields that are fast enough change nothing", "[waiter]") {
  Waiter waiter;
  for (int i = 0; i < 1'000; ++i) waiter.YieldTook(Waiter::kSlowYield);
  CHECK(OneWait(waiter) == kWithYields);
}

TEST_CASE("a slow yield sends the wait it is in to sleep", "[waiter]") {
  Waiter waiter;
  for (int i = 0; i < Waiter::kSpin.pauses + 3; ++i) (void)waiter.Decide();
  waiter.YieldTook(kSlow);
  CHECK(waiter.Decide() == Next::kSleep);
}

TEST_CASE("slow yields are given up for twice as many waits each time, up to a bound", "[waiter]") {
  Waiter waiter;
  int expected = Waiter::kWaitsWithoutYields;
  bool bounded = false;
  while (!bounded || expected < Waiter::kMostWaitsWithoutYields) {
    waiter.YieldTook(kSlow);
    CAPTURE(expected);
    REQUIRE(WaitsWithoutYields(waiter) == expected);
    bounded = expected == Waiter::kMostWaitsWithoutYields;
    expected = std::min(2 * expected, Waiter::kMostWaitsWithoutYields);
  }
  waiter.YieldTook(kSlow);
  CHECK(WaitsWithoutYields(waiter) == Waiter::kMostWaitsWithoutYields);
}

TEST_CASE("a wait that finds something among its pauses does not count as one without yields",
          "[waiter]") {
  Waiter waiter;
  waiter.YieldTook(kSlow);
  for (int i = 0; i < 10 * Waiter::kWaitsWithoutYields; ++i) {
    waiter.Reset();
    CHECK(waiter.Decide() == Next::kPause);
  }
  CHECK(WaitsWithoutYields(waiter) == Waiter::kWaitsWithoutYields);
}

TEST_CASE("steps end in sleep", "[waiter]") {
  Waiter waiter;
  int steps = 1;
  while (!waiter.Step()) ++steps;
  CHECK(steps > Waiter::kSpin.pauses);
  CHECK(steps <= Waiter::kSpin.pauses + Waiter::kSpin.yields + 1);
}

}  // namespace
}  // namespace rueda::transport
