// ThreadCpuClock: how long the calling thread has had a processor.
//
// Stands still while others have it. Reading it is a system call, a quarter of a microsecond.
#pragma once

#include <ctime>

#include "core/clock.h"

namespace rueda::bench {

class ThreadCpuClock final : public Clock {
 public:
  TimePoint Now() const override {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return TimePoint(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
  }
};

}  // namespace rueda::bench
