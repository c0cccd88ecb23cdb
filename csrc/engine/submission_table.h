// SubmissionTable: what this rank has in flight, shared between submitters and the engine thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/messages.h"
#include "control/offer_key.h"
#include "core/spare_nodes.h"
#include "engine/engine.h"
#include "engine/foresight.h"
#include "engine/ticket.h"
#include "engine/tracer.h"
#include "transport/parker.h"

namespace rueda::engine {

// Where this rank is in a process set.
struct Place {
  int rank = 0;
  size_t member = 0;   // its place among the set's ranks
  size_t members = 1;  // the set's size
};

// One submission from Submit to completion. After TakeNew it is the engine thread's alone, but for
// the ticket. Its memory lives as long as the ticket does: whoever waits frees what it allocated.
struct Work {
  Submission submission;
  Ticket ticket;
  bool agreed = false;               // a frame named it: it runs
  Status failure;                    // of a bucket that held a part of it
  std::vector<OwnedResult> results;  // by tensor, for operations whose results the engine allocates
  int64_t number = 0;                // what Ticket::number will say
  WorkTimes times;                   // for a timeline

  // Memory for what this rank gets of the tensor, owned by the result.
  TensorView AllocateResult(size_t tensor, const Bucket& bucket, const control::Response& response,
                            const Place& place);
};

class SubmissionTable {
 public:
  // `engine` is where the engine thread sleeps, null where nobody does. Without a clock it is woken
  // by whatever is submitted while it sleeps.
  explicit SubmissionTable(Tracer tracer = {}, transport::Parker* engine = nullptr,
                           const Clock* clock = nullptr)
      : tracer_(std::move(tracer)), engine_(engine), clock_(clock) {}

  // Any thread. kDuplicateName, or the reason given to Close. Wakes the engine, unless it comes
  // back by itself in time, or before long while somebody is expected to wait and to drive.
  Result<TicketPtr> Add(Submission submission);

  // Set by submitters: cheap to look at on every round of the engine's loop.
  bool has_new() const { return has_new_.load(std::memory_order_acquire); }
  bool wants_haste() const { return wants_haste_.load(std::memory_order_acquire); }
  // Somebody is about to wait, perhaps for what is offered already. Any thread.
  void Waits();
  // Somebody waits: offer what there is at once. Any thread; it sees to it that somebody drives.
  void Hurry() { wants_haste_.store(true, std::memory_order_release); }

  // Engine thread: whoever wished for haste is about to be served.
  void CalmDown() { wants_haste_.store(false, std::memory_order_relaxed); }

  // Engine thread. What was added since the last call, in order. With kComesBack the caller looks
  // again soon, so that what is added meanwhile need not wake it.
  enum class AndThen { kSleeps, kComesBack };
  void TakeNew(std::vector<Work*>* taken, AndThen and_then);
  // Engine thread. The work in flight under this name, or null.
  Work* Find(control::OfferKeyView key);
  // Engine thread. Completes works, each with its own `failure`, and forgets them. All are done
  // before any waiter is woken, or it would wait for the next one at once.
  void Complete(std::span<Work* const> works);
  void Complete(Work* work, const Status& status);

  // How many works are in flight, and what the first few that come to hand are: "allreduce 'x'".
  // Any thread.
  struct Glance {
    size_t count = 0;
    std::vector<std::string> some;
  };
  Glance SomeInFlight(size_t most);

  // Engine thread. Whether there is a submission, without an answer yet, of which `holds` is true.
  template <typename Predicate>
  bool HasUnagreed(Predicate holds) {
    const std::lock_guard lock(mutex_);
    return std::any_of(in_flight_.begin(), in_flight_.end(), [&](const auto& entry) {
      return !entry.second->agreed && holds(entry.second->submission);
    });
  }

  // Engine thread. Completes everything that no frame has named yet.
  void CompleteUnagreed(const Status& why);

  // From here on Add answers `why`. Any thread; the first reason stays.
  void Close(const Status& why);
  // Engine thread, or after it ended: completes everything left with `why`.
  void CompleteAll(const Status& why);

  // What all stages that works go through tell the timeline. Engine thread.
  Tracer& tracer() { return tracer_; }

 private:
  // The keys are the names in the works' requests.
  using InFlight = std::unordered_map<control::OfferKeyView, std::shared_ptr<Work>,
                                      control::OfferKeyHash, control::OfferKeyEqual>;
  static control::OfferKeyView KeyOf(const control::Request& request) {
    return {request.process_set, request.name};
  }
  Status CheckNotRemoving(uint32_t process_set) const;
  void CompleteEach(InFlight* works, const Status& why);
  enum class Wakes { kNobody, kEngine, kEngineUnlessItLooks };
  // With the lock held.
  Wakes WakesFor(const Submission& submission);
  Status Insert(const std::shared_ptr<Work>& work);
  std::shared_ptr<Work> Remove(const Work& work);
  // True if somebody sleeps until it is done.
  bool Settle(Work& work, Status status) const;

  Tracer tracer_;
  transport::Parker* const engine_;
  const Clock* const clock_;
  std::mutex mutex_;
  InFlight in_flight_;                // guarded by mutex_
  SpareNodes<InFlight> spare_{4096};  // guarded by mutex_
  std::vector<Work*> added_;          // guarded by mutex_
  Status closed_;                     // guarded by mutex_
  // Process sets whose removal is in flight: nothing more may be offered to them. Guarded by
  // mutex_.
  std::vector<uint32_t> removing_;
  bool engine_sleeps_ = true;                    // see TakeNew; guarded by mutex_
  Foresight foresight_;                          // guarded by mutex_
  std::vector<std::shared_ptr<Work>> finished_;  // the engine thread's; empty between calls
  // Release by submitters after the table changed, acquire by the engine before it looks.
  std::atomic<bool> has_new_{false};
  std::atomic<bool> wants_haste_{false};
  std::atomic<bool> has_burst_{false};  // that foresight_ wants to hear of a wait for
};

}  // namespace rueda::engine
