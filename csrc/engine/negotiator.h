// Negotiator: the engine's stages between a submission and a planned bucket: collect, offer, agree;
// or between a submission and a meeting of all ranks, which is an offer and an answer in one.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "control/messages.h"
#include "control/plan_cache.h"
#include "control/slot_table.h"
#include "core/clock.h"
#include "core/recycled.h"
#include "core/status.h"
#include "engine/control_road.h"
#include "engine/engine_parts.h"
#include "engine/executor.h"
#include "engine/linger.h"
#include "engine/one_shot_lane.h"
#include "engine/submission_table.h"

namespace rueda::engine {

// The engine thread's. Everything it is given outlives it.
class Negotiator {
 public:
  Negotiator(const EngineParts* parts, SubmissionTable* table, ControlRoad* road,
             Executor* executor)
      : parts_(parts),
        table_(table),
        road_(road),
        executor_(executor),
        one_shots_(parts, executor->meetings(), table, executor),
        linger_(parts->coordinator.limits.linger) {}

  // Tells the tuner of what is submitted, and of what ends without a bucket; null: nobody.
  void Watch(Autotuner* tuner) { tuner_ = tuner; }

  // Takes new submissions in and offers what is due: at once when somebody waits, else once nothing
  // has been submitted for a while. True if anything was offered.
  Result<bool> Offer();

  // Takes frames in: completes what failed, and hands planned buckets to the executor.
  Result<bool> Agree();

  // Offers nothing more: this rank is leaving.
  Status StopOffering();
  // True once the coordinator acknowledged the leave; everything before it has been taken in.
  bool leave_acknowledged() const { return leave_acknowledged_; }

  // When Offer has something to do even if nothing arrives.
  TimePoint NextDeadline() const {
    const TimePoint offers_at = collected_.empty() || closing_ ? kNever : linger_.until();
    return std::min(offers_at, one_shots_.NextDeadline());
  }

 private:
  // What one frame agrees for one process set of this rank.
  struct Round {
    uint32_t process_set = 0;
    control::BitSet cached;  // the slots of its first requests
    std::vector<control::AgreedRequest> agreed;
    std::vector<Work*> works;  // null where this rank has joined and takes no part

    void Clear();
  };
  struct Taken {
    Recycled<Round> rounds;  // cached ones by set, then as the frame names them
    std::vector<Work*> removals;

    Round& Of(uint32_t process_set) { return rounds.FindOrAdd(&Round::process_set, process_set); }
    void Clear();
  };

  void Collect();
  void TakeNew(SubmissionTable::AndThen and_then);
  void Refuse(Work* work, const Status& error);
  // The coordinator has left.
  Status EndUnagreed();
  bool ReadyToOffer() const;
  void SendToMeeting(std::vector<Work*>* offered);
  uint64_t SlotWishOf(const Work& work) const;
  Status OfferInBatches(const std::vector<Work*>& offered);
  Result<bool> Meet();
  Status SettleMeeting();
  Status RunMet(Work* work);
  void RememberOffer(uint32_t slot, Work* work);

  Status Take(const control::Frame& frame);
  Status Run(const control::Frame& frame);
  Status TakeCached(const control::Frame& frame);
  Status TakeCachedOf(const control::Frame& frame, const control::BitSet& cached, Round* round);
  void TraceCached(const control::Frame& frame, const control::BitSet& cached) const;
  Status TakeResponse(const control::Response& response);
  Status TakeAgreed(const control::Response& response, const control::Arrival& arrival, Work* work);
  // kCorrupt.
  Status NotOffered(const std::string& what) const;
  Result<bool> TakesPart(uint32_t process_set);
  Status AddSet(const control::Response& response, Work* work);

  Place PlaceIn(uint32_t process_set) const;
  void Learn(const std::shared_ptr<const control::Request>& request,
             const control::Response& response);
  BucketBuffers BuffersOf(const control::PlannedBucket& planned, const Round& round);
  void Enqueue(std::shared_ptr<const control::PlannedBucket> planned, const Round& round,
               const control::Limits& limits);

  const EngineParts* parts_;
  SubmissionTable* table_;
  ControlRoad* road_;
  Executor* executor_;
  OneShotLane one_shots_;
  control::SlotTable slots_;
  control::PlanCache plans_;
  control::Batch batch_;  // kept for its memory
  std::vector<Work*> offered_by_slot_;
  std::vector<Work*> collected_;  // taken from the table, not offered yet
  // What is offered, and what a frame agrees, while that lasts: kept for their memory.
  std::vector<Work*> offered_;
  Taken taken_;
  uint64_t frame_ = 0;  // the number of the one that is taken in, or was last
  control::Frame met_;  // what a meeting agrees on, with that number and its limits
  Linger linger_;       // as the last frame says
  Autotuner* tuner_ = nullptr;
  bool closing_ = false;
  bool leave_acknowledged_ = false;
};

}  // namespace rueda::engine
