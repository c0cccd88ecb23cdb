// SubmissionTable: what this rank has in flight, shared between submitters and the engine thread.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/messages.h"
#include "control/offer_key.h"
#include "engine/engine.h"
#include "engine/ticket.h"
#include "engine/tracer.h"

namespace rueda::engine {

// Where this rank is in a process set.
struct Place {
  int rank = 0;
  size_t member = 0;   // its place among the set's ranks
  size_t members = 1;  // the set's size
};

// One submission from Submit to completion. After TakeNew it is the engine thread's alone.
struct Work {
  Submission submission;
  TicketPtr ticket = std::make_shared<Ticket>();
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
  explicit SubmissionTable(Tracer tracer = {}) : tracer_(std::move(tracer)) {}

  // Any thread. kDuplicateName, or the reason given to Close.
  Result<TicketPtr> Add(Submission submission);

  // Set by submitters: cheap to look at on every round of the engine's loop.
  bool has_new() const { return has_new_.load(std::memory_order_acquire); }
  bool wants_haste() const { return wants_haste_.load(std::memory_order_acquire); }
  // Somebody waits: offer what there is at once. Any thread.
  void Hurry() { wants_haste_.store(true, std::memory_order_release); }

  // Engine thread: whoever wished for haste is about to be served.
  void CalmDown() { wants_haste_.store(false, std::memory_order_relaxed); }

  // Engine thread. What was added since the last call, in order; clears the flags.
  void TakeNew(std::vector<Work*>* taken);
  // Engine thread. The work in flight under this name, or null.
  Work* Find(control::OfferKeyView key);
  // Engine thread. Completes one work and forgets it.
  void Complete(Work* work, const Status& status);

  // How many works are in flight, and what the first few that come to hand are: "allreduce 'x'".
  // Any thread.
  struct Glance {
    size_t count = 0;
    std::vector<std::string> some;
  };
  Glance SomeInFlight(size_t most);

  // Engine thread. Completes everything that no frame has named yet.
  void CompleteUnagreed(const Status& why);

  // From here on Add answers `why`. Any thread; the first reason stays.
  void Close(const Status& why);
  // Engine thread, or after it ended: completes everything left with `why`.
  void CompleteAll(const Status& why);

  // What all stages that works go through tell the timeline. Engine thread.
  Tracer& tracer() { return tracer_; }

 private:
  using InFlight = std::unordered_map<control::OfferKey, std::unique_ptr<Work>,
                                      control::OfferKeyHash, control::OfferKeyEqual>;
  static control::OfferKeyView KeyOf(const control::Request& request) {
    return {request.process_set, request.name};
  }
  Status CheckNotRemoving(uint32_t process_set) const;
  void CompleteEach(InFlight* works, const Status& why);

  Tracer tracer_;
  std::mutex mutex_;
  InFlight in_flight_;        // guarded by mutex_
  std::vector<Work*> added_;  // guarded by mutex_
  Status closed_;             // guarded by mutex_
  // Process sets whose removal is in flight: nothing more may be offered to them. Guarded by
  // mutex_.
  std::vector<uint32_t> removing_;
  // Release by submitters after the table changed, acquire by the engine before it looks.
  std::atomic<bool> has_new_{false};
  std::atomic<bool> wants_haste_{false};
};

}  // namespace rueda::engine
