#include "control/stall_pace.h"

#include <algorithm>
#include <utility>

namespace rueda::control {
namespace {

// Past this many doublings, or this long, reports come evenly.
constexpr int kMostTimesFirst = 64;
constexpr Duration kLongest = std::chrono::hours(1);

}  // namespace

StallPace::Due StallPace::Look(const std::vector<int>& missing, TimePoint now) {
  if (!std::exchange(stalls_, true) && now - over_since_ >= interval_) {
    next_ = TimePoint{};
    interval_ = first_;
    named_.clear();
  }
  const bool other =
      std::any_of(missing.begin(), missing.end(), [&](int rank) { return !named_.contains(rank); });
  if (next_ == TimePoint{}) return Due::kFirst;
  if (other) return Due::kOtherRanks;
  return now >= next_ ? Due::kAgain : Due::kNo;
}

void StallPace::Reported(const std::vector<int>& missing, TimePoint now) {
  named_.insert(missing.begin(), missing.end());
  reported_ = true;
  next_ = now + interval_;
  interval_ = std::min({interval_ * 2, first_ * kMostTimesFirst, std::max(first_, kLongest)});
}

bool StallPace::Over(TimePoint now) {
  if (!std::exchange(stalls_, false)) return false;
  over_since_ = now;
  return std::exchange(reported_, false);
}

}  // namespace rueda::control
