// AbortReason: why a backend may not go on; the first reason stays.
#pragma once

#include <atomic>
#include <mutex>

#include "core/status.h"

namespace rueda::backends {

// Any thread, never blocks for longer than it takes to copy a Status.
class AbortReason {
 public:
  // `why` is not ok. False if there was a reason already. When it returns, Check tells this thread
  // a reason, its own or the first: who failed may tell what Check says.
  bool Set(const Status& why) {
    const std::lock_guard lock(mutex_);
    if (is_set_.load(std::memory_order_relaxed)) return false;
    why_ = why;
    // Release: pairs with Check's acquire, which then reads why_. Under the mutex: a second who
    // comes here and finds a reason must not see Check say ok.
    is_set_.store(true, std::memory_order_release);
    return true;
  }

  // Ok, or the reason.
  Status Check() const { return is_set_.load(std::memory_order_acquire) ? why_ : Status(); }

 private:
  std::mutex mutex_;
  std::atomic<bool> is_set_{false};
  Status why_;  // written once, before is_set_
};

}  // namespace rueda::backends
