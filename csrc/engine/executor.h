// Executor: runs planned buckets on the backend, one after another, and completes what they finish.
#pragma once

#include <deque>
#include <vector>

#include "backends/backend.h"
#include "control/planner.h"
#include "core/clock.h"
#include "engine/submission_table.h"

namespace rueda::engine {

// A planned bucket with the works whose tensors it holds.
struct BucketJob {
  control::PlannedBucket planned;
  BucketBuffers buffers;
  std::vector<Work*> completes;
  std::vector<Work*> touches;  // all that have a part in it: `completes`, and those that go on
  std::string description;     // of its first request, for messages: "allreduce 'fc.weight'"
};

// The engine thread's. Backend, table and clock outlive it.
class Executor {
 public:
  Executor(const Topology* topology, backends::Backend* backend, SubmissionTable* table,
           const Clock* clock)
      : topology_(topology), backend_(backend), table_(table), clock_(clock) {}

  void Enqueue(BucketJob job, Duration run_timeout);

  // Does what can be done without blocking; true if anything was. An error ends the epoch.
  Result<bool> Step();
  bool idle() const { return queue_.empty(); }
  // When the bucket under way has taken too long; kNever when none is.
  TimePoint deadline() const { return deadline_; }

 private:
  struct Queued {
    BucketJob job;
    Duration run_timeout{};
  };
  Status Begin();
  Status CheckDeadline() const;
  void Finish(const Status& status);

  const Topology* topology_;
  backends::Backend* backend_;
  SubmissionTable* table_;
  const Clock* clock_;
  std::deque<Queued> queue_;  // the front one runs if run_ is set
  backends::Run* run_ = nullptr;
  TimePoint deadline_ = kNever;
};

}  // namespace rueda::engine
