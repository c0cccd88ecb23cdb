// Foresight: whether somebody is about to wait, by what became of the last submissions.
#include "engine/foresight.h"

#include <catch2/catch.hpp>

namespace rueda::engine {
namespace {

using std::chrono::microseconds;

constexpr TimePoint kStart{microseconds(1000)};

// A burst of so many submissions, for which somebody waits so long after the first.
void Burst(Foresight* foresight, uint32_t submissions, Duration until_the_wait) {
  foresight->Begins(kStart);
  for (uint32_t i = 0; i < submissions; ++i) foresight->Submitted();
  foresight->Waits(kStart + until_the_wait);
}

void Learn(Foresight* foresight) {
  for (uint32_t i = 0; i < Foresight::kEnough; ++i) Burst(foresight, 1, microseconds(5));
}

TEST_CASE("a wait is expected after enough bursts that were waited for soon", "[foresight]") {
  Foresight foresight;
  for (uint32_t i = 0; i < Foresight::kEnough; ++i) {
    CHECK_FALSE(foresight.expects_a_wait());
    Burst(&foresight, 1, microseconds(5));
  }
  CHECK(foresight.expects_a_wait());
  Burst(&foresight, 300, microseconds(1000));
  CHECK(foresight.expects_a_wait());
}

TEST_CASE("one burst that was not waited for soon ends that", "[foresight]") {
  Foresight foresight;
  Learn(&foresight);
  SECTION("late") { Burst(&foresight, 1, microseconds(100)); }
  SECTION("late for so many") { Burst(&foresight, 300, microseconds(3100)); }
  SECTION("never") {
    foresight.Begins(kStart);
    foresight.Submitted();
    foresight.Begins(kStart + microseconds(5));
  }
  CHECK_FALSE(foresight.expects_a_wait());
  for (uint32_t i = 1; i < Foresight::kEnough; ++i) Burst(&foresight, 1, microseconds(5));
  CHECK_FALSE(foresight.expects_a_wait());
  Burst(&foresight, 1, microseconds(5));
  CHECK(foresight.expects_a_wait());
}

TEST_CASE("only the first wait after a burst counts", "[foresight]") {
  Foresight foresight;
  Learn(&foresight);
  for (int i = 0; i < 10; ++i) foresight.Waits(kStart + std::chrono::seconds(i));
  foresight.Submitted();
  CHECK(foresight.expects_a_wait());

  Foresight other;
  Burst(&other, 1, microseconds(5));
  for (int i = 0; i < 10; ++i) other.Waits(kStart);
  CHECK_FALSE(other.expects_a_wait());
}

}  // namespace
}  // namespace rueda::engine
