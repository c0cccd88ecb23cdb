// RankSample: some ranks of each group for real, which stand for the others.
//
// Ranks of a group submit the same and read the same frames, so they send the same bytes and plan
// the same. The chosen ones do so for real, in advance of the virtual time at which it happens;
// what it costs each rank of the group is the median of what it cost them. For one thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "bench/simulation/control_workload.h"
#include "bench/simulation/cost_book.h"
#include "bench/simulation/plan_ledger.h"
#include "bench/simulation/simulated_rank.h"
#include "bench/simulation/virtual_network.h"
#include "control/messages.h"
#include "core/status.h"

namespace rueda::bench {

class RankSample {
 public:
  // All that it is given outlives it. The rank `misplans`, if there is such a one, plans otherwise
  // than the others.
  RankSample(const ControlWorkload* workload, const CostMeter* meter, CostBook* book, int misplans);

  // A new step: they submit, and encode their batches. kCorrupt if ranks of a group differ.
  Status Submit();

  // What a rank but 0 offers in this step, and what that costs it.
  const control::Batch& BatchOf(int rank) const;
  Duration OfferCost(int rank) const;
  // The same encoded, null if it offers nothing, and what encoding costs.
  const Bytes& EncodedBatchOf(int rank) const;
  Duration EncodeCost(int rank) const;
  // Rank 0's own, which it does not encode.
  const control::Batch& RootBatch() const { return *root_batch_; }
  Duration RootOfferCost() const { return root_offer_cost_; }

  // The chosen ranks decode and plan a new frame. kMismatch if they plan it differently.
  Status Take(const Bytes& bytes, const control::Frame& frame);
  // What the step's frame number `index` costs a rank but 0, decoded and planned.
  Duration TakeCost(int rank, size_t index) const;
  // The same of rank 0, which has the frame already, and does it now.
  Status TakeAtRoot(const control::Frame& frame, Duration* cost);
  // kCorrupt unless these are the bytes of the step's frame number `index`: the same bytes are the
  // same plan, which is what lets some ranks stand for the others.
  Status CheckFrame(int rank, size_t index, const Bytes& bytes) const;
  // As rank 0 has it.
  const control::Frame& FrameValue(size_t index) const { return frame_values_[index]; }

  // After a step: kCorrupt if an offer was not answered.
  Status CheckAnswered() const;

 private:
  Status Offer(SimulatedRank& rank);
  Status Finish(SimulatedRank& rank, uint64_t frame);

  const ControlWorkload* workload_;
  const CostMeter* meter_;
  CostBook* book_;
  size_t recalled_ = 0;              // so that no compiler leaves the reading out
  std::deque<SimulatedRank> ranks_;  // rank 0 first
  const control::Batch* root_batch_ = nullptr;
  Duration root_offer_cost_{};
  std::array<control::Batch, ControlWorkload::kGroups> batches_;
  std::array<Bytes, ControlWorkload::kGroups> encoded_;
  std::vector<Bytes> frames_;
  std::vector<control::Frame> frame_values_;
  PlanLedger ledger_;
};

}  // namespace rueda::bench
