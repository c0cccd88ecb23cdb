#include "bench/simulation/relay_node.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "control/share.h"

namespace rueda::bench {
namespace {

// A leaf sends its batch, a relay what it has gathered.
Result<control::Shares> Decode(int from, bool is_leaf, const std::vector<uint8_t>& bytes,
                               control::RequestMemo* memo) {
  if (!is_leaf) return control::DecodeShares(bytes, memo);
  control::Share share;
  share.ranks.Insert(static_cast<size_t>(from));
  RUEDA_RETURN_IF_ERROR(control::DecodeBatch(bytes, &share.batch, memo));
  control::Shares shares;
  shares.push_back(std::move(share));
  return shares;
}

}  // namespace

RelayNode::RelayNode(const ControlJob* job, int rank, Duration patience)
    : job_(job),
      rank_(rank),
      depth_(job->shape->depth(rank)),
      relay_(job->shape->children(rank).size() + 1, patience) {}

void RelayNode::BeginStep() {
  began_ += std::chrono::seconds(1);
  frames_ = 0;
  gathering_ = false;
  read_ = false;
}

template <typename Function>
void RelayNode::Spend(Piece piece, Turn& turn, Function function) {
  const Duration cost = job_->meter->Measure(function);
  turn.Spend(job_->book->Note(TakeKey(piece), cost));
}

CostKey RelayNode::TakeKey(Piece piece) {
  bool first = false;
  if (piece == Piece::kOwn || piece == Piece::kBatch || piece == Piece::kShares) {
    first = !std::exchange(gathering_, true);
  }
  bool first_read = false;
  if (piece == Piece::kBatch || piece == Piece::kShares) first_read = !std::exchange(read_, true);
  const int64_t kind = static_cast<int64_t>(piece) * 4 + (first ? 2 : 0) + (first_read ? 1 : 0);
  return {CostKey::Work::kRelay, depth_, kind};
}

Status RelayNode::Start(Turn& turn) {
  turn.Spend(job_->sample->OfferCost(rank_));
  control::Share own{{}, job_->sample->BatchOf(rank_)};
  own.ranks.Insert(static_cast<size_t>(rank_));
  control::Shares shares;
  shares.push_back(std::move(own));
  Spend(Piece::kOwn, turn, [&] { relay_.Absorb(0, std::move(shares), Now(turn)); });
  return Status::Ok();
}

Status RelayNode::Receive(int from, const Bytes& bytes, Turn& turn) {
  return from == job_->shape->parent(rank_) ? PassDown(bytes, turn) : Gather(from, bytes, turn);
}

Status RelayNode::Gather(int from, const Bytes& bytes, Turn& turn) {
  const std::vector<int>& children = job_->shape->children(rank_);
  const auto at = std::lower_bound(children.begin(), children.end(), from) - children.begin();
  const bool is_leaf = job_->shape->children(from).empty();
  Status status;
  Spend(is_leaf ? Piece::kBatch : Piece::kShares, turn, [&] {
    Result<control::Shares> shares = Decode(from, is_leaf, *bytes, &memo_);
    status = shares.status();
    if (!status.ok()) return;
    relay_.Absorb(static_cast<size_t>(at) + 1, std::move(*shares), Now(turn));
  });
  return status;
}

Status RelayNode::Idle(Turn& turn) {
  if (!gathering_) return Status::Ok();
  std::vector<uint8_t> encoded;
  const TimePoint now = Now(turn);
  const Duration cost = job_->meter->Measure([&] {
    const control::Shares shares = relay_.Forward(now);
    if (!shares.empty()) encoded = control::Encode(shares);
  });
  const Piece piece = encoded.empty() ? Piece::kNothing : Piece::kForward;
  turn.Spend(job_->book->Note(TakeKey(piece), cost));
  if (!encoded.empty()) {
    turn.Send(job_->shape->parent(rank_),
              std::make_shared<const std::vector<uint8_t>>(std::move(encoded)));
  }
  if (relay_.NextDeadline() != kNever) turn.WakeAt(relay_.NextDeadline() - began_);
  return Status::Ok();
}

Status RelayNode::PassDown(const Bytes& bytes, Turn& turn) {
  const RankSample& sample = *job_->sample;
  RUEDA_RETURN_IF_ERROR(sample.CheckFrame(rank_, frames_, bytes));
  for (const int child : job_->shape->children(rank_)) turn.Send(child, bytes);
  const Duration began = turn.now();
  const size_t index = frames_++;
  turn.Spend(sample.TakeCost(rank_, index));
  Spend(Piece::kAnswered, turn, [&] { relay_.Answered(sample.FrameValue(index)); });
  job_->times->Planned(began, turn.now());
  return Status::Ok();
}

}  // namespace rueda::bench
