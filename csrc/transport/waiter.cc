#include "transport/waiter.h"

#include <sched.h>

#include <algorithm>

namespace rueda::transport {

Waiter::Next Waiter::Decide() {
  const int step = steps_++;
  if (step < spin_.pauses) return Next::kPause;
  if (waits_without_yields_ > 0) {
    --waits_without_yields_;
    return Next::kSleep;
  }
  return step < spin_.pauses + spin_.yields ? Next::kYield : Next::kSleep;
}

void Waiter::YieldTook(Duration took) {
  if (took <= kSlowYield) {
    penalty_ = kWaitsWithoutYields;
    return;
  }
  waits_without_yields_ = penalty_;
  penalty_ = std::min(2 * penalty_, kMostWaitsWithoutYields);
}

bool Waiter::Step() {
  switch (Decide()) {
    case Next::kPause:
      CpuPause();
      return false;
    case Next::kYield: {
      // sched_yield counts as an involuntary switch, so the yield itself is timed.
      const TimePoint before = SteadyClock().Now();
      ::sched_yield();
      YieldTook(SteadyClock().Now() - before);
      return false;
    }
    case Next::kSleep:
      return true;
  }
  return true;
}

}  // namespace rueda::transport
