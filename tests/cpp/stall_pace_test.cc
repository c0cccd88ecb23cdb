// When a stall is reported: at once, then ever more rarely, and at once for ranks not named before.
#include "control/stall_pace.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <vector>

namespace rueda::control {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using Due = StallPace::Due;

TimePoint At(int64_t second) { return TimePoint{} + hours(1000) + seconds(second); }

// The seconds at which a stall of rank 1 that lasts for ever is reported.
std::vector<int64_t> Reports(Duration first, int count) {
  StallPace pace(first);
  std::vector<int64_t> reports;
  TimePoint now = At(0);
  while (static_cast<int>(reports.size()) < count) {
    if (pace.Look({1}, now) != Due::kNo) {
      reports.push_back(std::chrono::duration_cast<seconds>(now - At(0)).count());
      pace.Reported({1}, now);
    }
    now = pace.next();
  }
  return reports;
}

TEST_CASE("reports of one stall come after intervals that double", "[stall]") {
  CHECK(Reports(seconds(10), 6) == std::vector<int64_t>{0, 10, 30, 70, 150, 310});
}

TEST_CASE("the intervals grow to an hour and no further, or not at all above it", "[stall]") {
  const std::vector<int64_t> reports = Reports(seconds(600), 8);
  CHECK(reports[7] - reports[6] == 3600);
  CHECK(Reports(hours(5), 3) == std::vector<int64_t>{0, 5 * 3600, 10 * 3600});
}

TEST_CASE("a rank that was not named before is reported at once", "[stall]") {
  StallPace pace(seconds(10));
  CHECK(pace.Look({1}, At(0)) == Due::kFirst);
  pace.Reported({1}, At(0));
  CHECK(pace.Look({1}, At(1)) == Due::kNo);
  CHECK(pace.Look({1, 2}, At(1)) == Due::kOtherRanks);
  pace.Reported({1, 2}, At(1));
  CHECK(pace.Look({2}, At(2)) == Due::kNo);
  CHECK(pace.next() == At(21));
  CHECK(pace.Look({2}, At(21)) == Due::kAgain);
}

TEST_CASE("a stall whose ranks are not known is not reported without end", "[stall]") {
  StallPace pace(seconds(10));
  CHECK(pace.Look({}, At(0)) == Due::kFirst);
  pace.Reported({}, At(0));
  CHECK(pace.Look({}, At(1)) == Due::kNo);
}

TEST_CASE("only what was reported is over", "[stall]") {
  StallPace pace(seconds(10));
  CHECK_FALSE(pace.Over(At(0)));
  CHECK(pace.Look({1}, At(0)) == Due::kFirst);
  CHECK_FALSE(pace.Over(At(1)));
  CHECK(pace.Look({1}, At(20)) == Due::kFirst);
  pace.Reported({1}, At(20));
  CHECK(pace.Over(At(25)));
  CHECK_FALSE(pace.Over(At(26)));
}

TEST_CASE("stalls that follow each other share a pace, later ones begin anew", "[stall]") {
  StallPace pace(seconds(10));
  CHECK(pace.Look({1}, At(0)) == Due::kFirst);
  pace.Reported({1}, At(0));
  CHECK(pace.Over(At(5)));
  CHECK(pace.Look({1}, At(7)) == Due::kNo);
  CHECK(pace.Look({1}, At(10)) == Due::kAgain);
  pace.Reported({1}, At(10));
  CHECK(pace.Over(At(12)));
  CHECK(pace.Look({1}, At(200)) == Due::kFirst);
}

}  // namespace
}  // namespace rueda::control
