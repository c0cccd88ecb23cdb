#include "engine/ticket.h"

#include <cerrno>

#include "transport/doorbell.h"
#include "transport/waiter.h"

namespace rueda::engine {

Ticket::Wake Ticket::Wait(Duration slice) {
  // A thread's, so that it remembers across calls that its yields are slow.
  thread_local transport::Waiter waiter;
  waiter.Reset();
  while (!waiter.Step()) {
    if (done()) return Wake::kDone;
  }
  const TimePoint deadline = slice == Duration::zero() ? kNever : SteadyClock().Now() + slice;
  while (true) {
    uint32_t seen = kPending;
    // The one who sleeps says so; Complete wakes only if somebody did. On failure `seen` is the
    // state.
    if (!state_.compare_exchange_strong(seen, kPendingWithSleepers, std::memory_order_acq_rel,
                                        std::memory_order_acquire) &&
        seen == kDone) {
      return Wake::kDone;
    }
    const int error = transport::FutexWait(&state_, kPendingWithSleepers, deadline);
    if (done()) return Wake::kDone;
    if (error == ETIMEDOUT || (error == EINTR && slice != Duration::zero()))
      return Wake::kInterrupted;
  }
}

void Ticket::Complete(Status status, std::vector<OwnedResult> results, int64_t number) {
  if (Settle(std::move(status), std::move(results), number)) WakeSleepers();
}

bool Ticket::Settle(Status status, std::vector<OwnedResult> results, int64_t number) {
  status_ = std::move(status);
  results_ = std::move(results);
  number_ = number;
  // Release: pairs with done()'s acquire.
  return state_.exchange(kDone, std::memory_order_acq_rel) == kPendingWithSleepers;
}

// Its waiters may have let go of the ticket since it is done, but waking an address that nobody
// sleeps on any more is harmless.
void Ticket::WakeSleepers() { transport::FutexWakeAll(&state_); }

}  // namespace rueda::engine
