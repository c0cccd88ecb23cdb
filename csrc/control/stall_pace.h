// StallPace: when a stall is worth another report.
//
// Pure; it is told the time. The first report of a stall comes at once, the next ones after
// intervals that double, and one at once when a rank is waited for that no report has named. A
// stall that begins soon after the last one goes on at its pace, so a job that waits for a slow
// rank in each step is not told of each step.
#pragma once

#include <set>
#include <vector>

#include "core/clock.h"

namespace rueda::control {

class StallPace {
 public:
  enum class Due { kNo, kFirst, kOtherRanks, kAgain };

  // `first`: the interval after the first report.
  explicit StallPace(Duration first) : first_(first), interval_(first) {}

  // Whether a stall of these ranks is to be reported now.
  Due Look(const std::vector<int>& missing, TimePoint now);
  // When Look of the same ranks says so next.
  TimePoint next() const { return next_; }

  // It has been reported, naming these ranks.
  void Reported(const std::vector<int>& missing, TimePoint now);

  // Nothing stalls any more; true if what did had been reported.
  bool Over(TimePoint now);

 private:
  const Duration first_;
  Duration interval_;
  TimePoint next_{};  // long ago: nothing has been reported
  TimePoint over_since_{};
  bool stalls_ = false;
  bool reported_ = false;  // this stall
  std::set<int> named_;
};

}  // namespace rueda::control
