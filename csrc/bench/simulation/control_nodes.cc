#include "bench/simulation/control_nodes.h"

#include <memory>
#include <string>
#include <utility>

#include "control/share.h"

namespace rueda::bench {
namespace {

Topology TopologyOf(int ranks) {
  Topology topology;
  topology.size = ranks;
  return topology;
}

}  // namespace

Status LeafNode::Start(Turn& turn) {
  turn.Spend(job_->sample->OfferCost(rank_) + job_->sample->EncodeCost(rank_));
  turn.Send(job_->shape->parent(rank_), job_->sample->EncodedBatchOf(rank_));
  return Status::Ok();
}

Status LeafNode::Receive(int, const Bytes& bytes, Turn& turn) {
  RUEDA_RETURN_IF_ERROR(job_->sample->CheckFrame(rank_, frames_, bytes));
  const Duration began = turn.now();
  turn.Spend(job_->sample->TakeCost(rank_, frames_++));
  job_->times->Planned(began, turn.now());
  return Status::Ok();
}

RootNode::RootNode(const ControlJob* job)
    : job_(job), coordinator_(TopologyOf(job->workload->ranks()), {}) {}

Status RootNode::AddSets() {
  for (const auto& [id, ranks] : job_->workload->sets()) {
    if (id != 0) RUEDA_RETURN_IF_ERROR(coordinator_.AddProcessSet(id, ranks));
  }
  return Status::Ok();
}

void RootNode::BeginStep() {
  began_ += std::chrono::seconds(1);
  frames_ = 0;
  shares_absorbed_ = 0;
  expected_ = {};
  absorbed_ = {};
  for (const int child : job_->shape->children(0)) {
    const int group = job_->workload->GroupOf(child);
    if (!job_->shape->children(child).empty()) continue;
    if (!job_->workload->OffersOf(child).empty()) ++expected_[static_cast<size_t>(group)];
  }
}

Status RootNode::Start(Turn& turn) {
  turn.Spend(job_->sample->RootOfferCost());
  Status status;
  turn.Spend(job_->meter->Measure(
      [&] { status = coordinator_.Absorb(0, job_->sample->RootBatch(), Now(turn)); }));
  job_->times->absorbed = turn.now();
  return status;
}

Status RootNode::Receive(int from, const Bytes& bytes, Turn& turn) {
  Status status;
  const bool is_leaf = job_->shape->children(from).empty();
  const Duration cost = job_->meter->Measure([&] {
    status = is_leaf ? AbsorbBatch(from, *bytes, Now(turn)) : AbsorbShares(*bytes, Now(turn));
  });
  turn.Spend(job_->book->Note(AbsorbKeyOf(from), cost));
  job_->times->absorbed = turn.now();
  return status;
}

Status RootNode::AbsorbBatch(int from, const std::vector<uint8_t>& bytes, TimePoint now) {
  RUEDA_RETURN_IF_ERROR(control::DecodeBatch(bytes, &batch_, &memo_));
  return coordinator_.Absorb(from, batch_, now);
}

Status RootNode::AbsorbShares(const std::vector<uint8_t>& bytes, TimePoint now) {
  const Result<control::Shares> shares = control::DecodeShares(bytes, &memo_);
  if (!shares.ok()) return shares.status();
  for (const control::Share& share : *shares) {
    RUEDA_RETURN_IF_ERROR(coordinator_.Absorb(share.ranks, share.batch, now));
  }
  return Status::Ok();
}

// The first batch of a group opens rounds and the last one completes them; those between do alike.
CostKey RootNode::AbsorbKeyOf(int from) {
  if (!job_->shape->children(from).empty()) {
    // What relays have gathered differs from one to the next.
    return {CostKey::Work::kAbsorb, ControlWorkload::kGroups, ++shares_absorbed_};
  }
  const int group = job_->workload->GroupOf(from);
  const int place = absorbed_[static_cast<size_t>(group)]++;
  const int last = expected_[static_cast<size_t>(group)] - 1;
  return {CostKey::Work::kAbsorb, group, place == 0 ? 0 : place == last ? 2 : 1};
}

Status RootNode::Idle(Turn& turn) {
  while (true) {
    bool decided = false;
    turn.Spend(job_->meter->Measure([&] { decided = coordinator_.Decide(Now(turn), &frame_); }));
    if (!decided) return Status::Ok();
    RUEDA_RETURN_IF_ERROR(Broadcast(frame_, turn));
  }
}

Status RootNode::Broadcast(const control::Frame& frame, Turn& turn) {
  turn.Spend(job_->meter->Measure([&] { control::Encode(frame, &encoded_); }));
  const auto bytes = std::make_shared<const std::vector<uint8_t>>(encoded_);
  job_->times->decided = turn.now();
  RUEDA_RETURN_IF_ERROR(job_->sample->Take(bytes, frame));
  for (const int child : job_->shape->children(0)) turn.Send(child, bytes);
  const Duration began = turn.now();
  Duration cost{};
  RUEDA_RETURN_IF_ERROR(job_->sample->TakeAtRoot(frame, &cost));
  turn.Spend(cost);
  job_->times->Planned(began, turn.now());
  ++frames_;
  return Status::Ok();
}

}  // namespace rueda::bench
