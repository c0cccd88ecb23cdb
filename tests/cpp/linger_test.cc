// Linger: a pause lets submissions go, and a stream without one goes in parts.
#include "engine/linger.h"

#include <catch2/catch.hpp>
#include <chrono>

namespace rueda::engine {
namespace {

using std::chrono::microseconds;

const TimePoint kStart{std::chrono::seconds(100)};

TEST_CASE("what is submitted goes after a pause", "[linger]") {
  Linger linger(microseconds(30));
  linger.Took(kStart, true);
  CHECK(linger.until() == kStart + microseconds(30));
  linger.Took(kStart + microseconds(20), false);
  CHECK(linger.until() == kStart + microseconds(50));
}

TEST_CASE("a stream without a pause goes in parts", "[linger]") {
  Linger linger(microseconds(30));
  linger.Took(kStart, true);
  for (int i = 1; i < 96; ++i) linger.Took(kStart + i * microseconds(10), false);
  CHECK(linger.until() == kStart + Linger::kMostPauses * microseconds(30));
  // What comes after that begins anew.
  linger.Took(kStart + microseconds(970), true);
  CHECK(linger.until() == kStart + microseconds(1000));
}

TEST_CASE("whoever wakes up for a pause and finds a stream looks ever more seldom", "[linger]") {
  Linger linger(microseconds(30));
  linger.Took(kStart, true);
  for (const int until : {90, 210, 450, 690, 930, 960}) {
    linger.Took(linger.until(), false);
    CHECK(linger.until() == kStart + microseconds(until));
  }
  linger.Took(kStart + microseconds(960), true);
  CHECK(linger.until() == kStart + microseconds(990));
}

TEST_CASE("without a pause to wait for everything goes at once", "[linger]") {
  Linger linger(Duration::zero());
  linger.Took(kStart, true);
  CHECK(linger.until() == kStart);
}

TEST_CASE("the usual pause is short where engine threads have processors of their own",
          "[linger]") {
  CHECK(Linger::UsualPause(1, 2) == microseconds(30));
  CHECK(Linger::UsualPause(4, 9) == microseconds(30));
  CHECK(Linger::UsualPause(1, 1) == microseconds(300));
  CHECK(Linger::UsualPause(2, 3) == microseconds(300));
}

TEST_CASE("another pause holds from the next submission on", "[linger]") {
  Linger linger(microseconds(30));
  linger.Took(kStart, true);
  linger.SetPause(microseconds(100));
  CHECK(linger.until() == kStart + microseconds(30));
  linger.Took(kStart + microseconds(40), true);
  CHECK(linger.until() == kStart + microseconds(140));
}

}  // namespace
}  // namespace rueda::engine
