// Engine: one epoch (a fixed membership) from start to stop, driven by one thread of its own.
//
// It wires and never decides: collect submissions, agree (Coordinator), plan (Planner), execute
// (Backend), complete tickets. Two engines in one process do not know of each other.
#pragma once

#include <memory>
#include <string>

#include "control/request.h"
#include "core/bucket.h"
#include "core/status.h"
#include "core/types.h"
#include "engine/engine_parts.h"
#include "engine/ticket.h"
#include "transport/arena.h"

namespace rueda::engine {

// One thing to do. `request->tensors[i]` is `buffers.inputs[i]` before and `buffers.outputs[i]`
// after; an output may be its input. Where ranks get different parts (allgather, reducescatter,
// alltoall, gather, scatter) there are no outputs: the ticket owns the results. A reduce has
// outputs on its root alone. The pointers stay valid until the ticket is done; keep_alive is
// dropped by the engine right after, without the GIL, so it must not own Python objects.
struct Submission {
  std::shared_ptr<const control::Request> request;
  BucketBuffers buffers;
  std::shared_ptr<const void> keep_alive;
  // Somebody waits for it, or it is a full bucket: offer it at once instead of lingering for
  // company.
  bool urgent = false;
  // The caller calls Drive or Wait next, so the engine thread need not wake for it.
  bool driven = false;
};

class Engine {
 public:
  // Starts the engine thread.
  static std::unique_ptr<Engine> Start(EngineParts parts);

  // Stops if nobody did.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Process sets come and go by requests of set 0: all ranks offer the same kAddProcessSet, whose
  // ticket tells its number, and kRemoveProcessSet; members of the set first run a barrier in it,
  // after which nothing of it is in flight.
  //
  // Never blocks; any thread. kDuplicateName when the name is in flight on this rank; kShutDown, or
  // the epoch's first error, when nothing can be submitted any more.
  Result<TicketPtr> Submit(Submission submission);

  // Somebody waits for the ticket. Where ranks share memory and nobody else works, this thread does
  // the engine's work, and sleeps as it does, until the ticket is done; with a `slice` (not zero)
  // only for so long and until a signal. Otherwise the engine thread hears of it. Any thread.
  void Drive(const TicketPtr& ticket, Duration slice = Duration::zero());

  // Somebody asks whether the ticket is done: it lingers no more. Any thread; returns at once.
  void Hurry(const Ticket& ticket);

  // Drives, and then sleeps until the ticket is done. As Ticket::Wait.
  Ticket::Wake Wait(const TicketPtr& ticket, Duration slice = Duration::zero());

  // Memory that peers map, for buckets reduced in place; kUnsupported when this epoch has none.
  Result<std::shared_ptr<transport::ArenaBuffer>> Allocate(int64_t bytes);

  // Leaves the job: tells the peers why ("" for an ordinary shutdown), completes every ticket,
  // joins the thread. Idempotent; bounded by a deadline, but rank 0, which agrees for all, stays
  // while process sets without it are whole, unless there is a reason. Nothing of this epoch is
  // left afterwards (I5).
  void Stop(const std::string& reason = {});

  // Records what all ranks do into a file of rank 0, until StopTimeline or Stop; see Timeline. Any
  // thread. kForked in a forked child.
  Status StartTimeline(const std::string& path, bool mark_frames);
  Status StopTimeline();

  // Closes descriptors and forgets the engine thread in a forked child, where it does not exist.
  void AbandonInForkedChild();

  const Topology& topology() const;
  // The name of the backend in use, such as "shm".
  std::string backend_name() const;
  // The error that ended the epoch, or ok.
  Status first_error() const;

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rueda::engine
