// SimulatedRank: one rank's half of the negotiation, as engine/negotiator.cc does it, without
// tensors, threads and sockets.
//
// What is timed are MakeBatch, EncodeBatch, Take and Receive; the rest keeps count. Messages use
// the same memory again and again, as an engine's do. For one thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/messages.h"
#include "control/offer_key.h"
#include "control/plan_cache.h"
#include "control/slot_table.h"
#include "core/recycled.h"

namespace rueda::bench {

// What one frame lets a rank run in one process set.
struct PlannedSet {
  uint32_t process_set = 0;
  control::BitSet cached;  // the slots of its first requests
  std::vector<control::AgreedRequest> agreed;
  control::SharedPlan buckets;

  void Clear();
};

class SimulatedRank {
 public:
  // The process sets, by number, outlive it.
  SimulatedRank(int rank, const std::map<uint32_t, std::vector<int>>* sets);

  int rank() const { return rank_; }
  // From now on it plans with other limits than the frame's, so that tests see it found out.
  void Misplan() { misplans_ = true; }

  // As a training script does. The requests stay where they are until MakeBatch.
  void Submit(const std::vector<control::SharedRequest>& requests);

  // Reads what MakeBatch and Take will read, so that they find it in the cache, as on a processor
  // of the rank's own. Answers how many offers in flight have slots.
  size_t Recall() const;

  // The offers of all that was submitted; valid until the next ones are made.
  const control::Batch& MakeBatch();
  // The same, encoded.
  const std::vector<uint8_t>& EncodeBatch();

  // Takes a frame in, in order, and plans it. kCorrupt if it is not an answer to what this rank has
  // offered, or an error.
  Status Take(const control::Frame& frame);
  // The same of an encoded one.
  Status Receive(std::span<const uint8_t> bytes);
  // What was received last.
  const control::Frame& frame() const { return frame_; }
  // What was planned last. Points into the frame.
  const Recycled<PlannedSet>& planned() const { return planned_; }

  // Forgets what the buckets that were planned last complete.
  void Complete();
  // Offers without an answer.
  size_t in_flight() const { return in_flight_.size(); }

 private:
  Status TakeCached(const control::Frame& frame);
  void Learn(const control::SharedRequest& request, const control::Response& response);
  Status TakeResponse(const control::Response& response);
  Status NotOffered(const std::string& what) const;

  const int rank_;
  std::map<uint32_t, const std::vector<int>*> own_sets_;
  control::SlotTable slots_;
  control::PlanCache plans_;
  bool misplans_ = false;
  control::Batch batch_;
  std::vector<uint8_t> encoded_;
  control::Frame frame_;
  Recycled<PlannedSet> planned_;
  // Beside each other, so that an offer by its slot reads the request alone.
  struct Unsent {
    const control::Request* request;
    const control::SharedRequest* shared;
  };
  std::vector<Unsent> unsent_;
  std::vector<const control::Request*> offered_by_slot_;
  std::unordered_map<control::OfferKey, control::SharedRequest, control::OfferKeyHash,
                     control::OfferKeyEqual>
      in_flight_;
};

}  // namespace rueda::bench
