// The clock seam: engines and coordinators are told the time, so that tests can tell it too.
#pragma once

#include <chrono>

namespace rueda {

using Duration = std::chrono::nanoseconds;
// Monotonic; no relation to the wall.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;
inline constexpr TimePoint kNever = TimePoint::max();

// `wait` may be as long as can be told: what lies past the end of time is never.
constexpr TimePoint After(TimePoint since, Duration wait) {
  return since == kNever || wait >= kNever - since ? kNever : since + wait;
}

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() const = 0;
};

class SteadyClock final : public Clock {
 public:
  TimePoint Now() const override { return std::chrono::steady_clock::now(); }
};

// Stands still until Advance is called. For one thread at a time.
class ManualClock final : public Clock {
 public:
  TimePoint Now() const override { return now_; }
  void Advance(Duration by) { now_ += by; }

 private:
  TimePoint now_{};
};

}  // namespace rueda
