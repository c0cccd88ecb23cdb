// Executor: runs planned buckets on the backends of their process sets and completes what they
// finish.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "control/planner.h"
#include "core/clock.h"
#include "engine/autotuner.h"
#include "engine/submission_table.h"

namespace rueda::engine {

// A planned bucket with the works whose tensors it holds.
struct BucketJob {
  std::shared_ptr<const control::PlannedBucket> planned;
  BucketBuffers buffers;
  std::vector<Work*> completes;
  std::vector<Work*> touches;  // all that have a part in it: `completes`, and those that go on
  uint64_t frame = 0;          // that agreed on it
  uint64_t number = 0;         // among its process set's, from 1; given when it begins
  std::string description;     // of its first request, for messages: "allreduce 'fc.weight'"
};

// The engine thread's. Table and clock outlive it.
//
// Each process set has a queue of its own where the backends can work side by side, so that nothing
// of one set waits for another's. Otherwise all share one queue, in the order in which the frames
// name their buckets: that is the same on every rank, so no two ranks wait for each other's set.
class Executor {
 public:
  // `backend` is that of all ranks, process set 0.
  Executor(const Topology* topology, std::unique_ptr<backends::Backend> backend,
           SubmissionTable* table, const Clock* clock);
  ~Executor() { DropBackends(); }

  // A process set that this rank belongs to. `memory` by rank of the set as Subset has it; `own` is
  // kept while the set is there.
  Status AddSet(uint32_t id, std::vector<int> ranks, std::vector<int64_t> memory,
                std::shared_ptr<const void> own);
  // Ends a set once all that was enqueued for it is done, and then completes `work`.
  void RemoveSet(uint32_t id, Work* work);
  // The ranks of a set, ascending; null if this rank knows no such set or is not in it.
  const std::vector<int>* RanksOf(uint32_t process_set) const;
  // Where all ranks meet, until the backends are dropped; null if the backend has no such place.
  backends::OneShot* meetings() { return root().backend->one_shot(); }

  // Tells the tuner of what completes; null: nobody.
  void Watch(Autotuner* tuner) { tuner_ = tuner; }

  void Enqueue(BucketJob job, Duration run_timeout);

  // Does what can be done without blocking; true if anything was. An error ends the epoch.
  Result<bool> Step();
  bool idle() const;
  // When the first bucket under way has taken too long; kNever when none is.
  TimePoint deadline() const;

  // For reports: a bucket under way.
  struct RunView {
    std::string description;
    TimePoint begun;
    TimePoint quiet_since;                    // when it was last seen to move
    const std::vector<int>* ranks = nullptr;  // of its process set
    std::vector<int> waits_for;               // ranks, as far as the backend can tell
  };
  std::vector<RunView> Runs() const;
  // The earliest `quiet_since`; kNever when nothing is under way.
  TimePoint quiet_since() const;
  // The last bucket that ended: a request that it completed, or null; when; and how many requests
  // all buckets so far have completed.
  struct LastRun {
    std::shared_ptr<const control::Request> request;
    TimePoint at;
    int64_t completed = 0;
  };
  const LastRun& last_run() const { return last_run_; }
  // A request was done without a bucket.
  void RanAside(const Work& work);

  // Makes everything under way fail soon.
  void Abort(const Status& why);
  // Ends all backends: nothing touches tensors afterwards.
  void DropBackends();

 private:
  struct Road {
    std::vector<int> ranks;
    std::unique_ptr<backends::Backend> backend;
    std::shared_ptr<const void> memory;
    uint64_t buckets = 0;  // begun so far
  };
  struct Item {
    BucketJob job;
    Duration run_timeout{};
    Road* road = nullptr;
    uint32_t ends_set = 0;  // not 0: no bucket, but the end of a set
  };
  struct Lane {
    std::deque<Item> items;  // the front one runs if `run` is set
    backends::Run* run = nullptr;
    TimePoint deadline = kNever;
    TimePoint begun = kNever;
    TimePoint quiet_since = kNever;
    bool moved = false;  // since quiet_since was set
  };

  Road& root() { return roads_.at(0); }
  Lane& LaneOf(uint32_t process_set);
  Result<bool> StepLane(Lane& lane);
  Status Begin(Lane& lane);
  Status CheckDeadline(const Lane& lane, TimePoint now) const;
  std::vector<int> WaitsFor(const Lane& lane) const;
  void Finish(Lane& lane, const Status& status);

  const Topology* topology_;
  SubmissionTable* table_;
  const Clock* clock_;
  Autotuner* tuner_ = nullptr;
  const bool concurrent_;
  std::map<uint32_t, Road> roads_;  // by process set; maps: what they hold stays where it is
  std::map<uint32_t, Lane> lanes_;  // by process set, or one alone
  LastRun last_run_;
};

}  // namespace rueda::engine
