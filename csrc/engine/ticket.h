// Ticket: the promise that one submission completes exactly once (I3).
//
// The engine completes it; any number of threads may wait for it. Tensors stay the submitter's: it
// keeps them alive until the ticket is done (I4).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "core/clock.h"
#include "core/status.h"
#include "engine/wait_tracer.h"

namespace rueda::engine {

// Memory that the engine allocated for a result whose size only the agreement tells.
struct OwnedResult {
  std::shared_ptr<uint8_t[]> data;
  int64_t bytes = 0;
  // Rows, by the rank of the set that they come from; one number for a reducescatter.
  std::vector<int64_t> first_dims;
};

class Ticket {
 public:
  Ticket() = default;
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  // True once completed; never drives the engine, never blocks. Any thread.
  bool done() const { return state_.load(std::memory_order_acquire) == kDone; }

  // Whether its request has left this rank: haste is of no use any more. Set by the engine; any
  // thread may ask, and may learn of it late.
  bool offered() const { return offered_.load(std::memory_order_relaxed); }
  void MarkOffered() { offered_.store(true, std::memory_order_relaxed); }

  // Whether nobody should spin for it: it is done when other ranks have done other things. Set
  // before anybody else has the ticket.
  bool takes_long() const { return takes_long_; }
  void TakesLong() { takes_long_ = true; }

  // Valid once done.
  const Status& status() const { return status_; }
  std::vector<OwnedResult>& results() { return results_; }
  // A new process set: its number. Join: the rank that joined last.
  int64_t number() const { return number_; }

  enum class Wake { kDone, kInterrupted };
  // Sleeps until the ticket is done. Returns kInterrupted when a signal arrived or, at the latest,
  // `slice` after it went to sleep, so that a caller can look for Ctrl-C; zero: only when done.
  Wake Wait(Duration slice = Duration::zero());
  // Around a wait: the timeline hears of it. WaitBegins returns what WaitEnds takes.
  int64_t WaitBegins() const { return tracer_.on() ? tracer_.Now() : kNotTraced; }
  void WaitEnds(int64_t begun) const {
    if (begun != kNotTraced && tracer_.on()) tracer_.Waited(begun);
  }

  // Waits are recorded from here on; before anybody else has the ticket.
  void Trace(WaitTracer tracer) { tracer_ = std::move(tracer); }

  // Engine only, once.
  void Complete(Status status, std::vector<OwnedResult> results = {}, int64_t number = 0);
  // The same in two steps, so that no waiter runs before several tickets are done. True if somebody
  // sleeps: Wake follows.
  [[nodiscard]] bool Settle(Status status, std::vector<OwnedResult> results, int64_t number);
  void WakeSleepers();

 private:
  static constexpr int64_t kNotTraced = -1;
  static constexpr uint32_t kPending = 0, kPendingWithSleepers = 1, kDone = 2;

  std::atomic<uint32_t> state_{kPending};
  std::atomic<bool> offered_{false};
  bool takes_long_ = false;
  Status status_;                     // written before state_ becomes kDone
  std::vector<OwnedResult> results_;  // likewise
  int64_t number_ = 0;                // likewise
  WaitTracer tracer_;                 // off, unless there was a timeline at Submit
};

using TicketPtr = std::shared_ptr<Ticket>;

}  // namespace rueda::engine
