#include "bench/simulation/rank_sample.h"

#include <memory>
#include <string>
#include <utility>

namespace rueda::bench {
namespace {

CostKey OfferKeyOf(int group) { return {CostKey::Work::kOffer, group, 0}; }
CostKey EncodeKeyOf(int group) { return {CostKey::Work::kEncode, group, 0}; }
CostKey TakeKeyOf(int group, size_t frame) {
  return {CostKey::Work::kTake, group, static_cast<int64_t>(frame)};
}

}  // namespace

RankSample::RankSample(const ControlWorkload* workload, const CostMeter* meter, CostBook* book,
                       int misplans)
    : workload_(workload), meter_(meter), book_(book) {
  for (const int rank : workload->sampled()) {
    ranks_.emplace_back(rank, &workload->sets());
    if (rank == misplans) ranks_.back().Misplan();
  }
}

Status RankSample::Submit() {
  for (Bytes& encoded : encoded_) encoded = nullptr;
  frames_.clear();
  frame_values_.clear();
  ledger_.Clear();
  for (SimulatedRank& rank : ranks_) {
    const auto& requests = workload_->OffersOf(rank.rank());
    if (requests.empty()) continue;
    rank.Submit(requests);
    recalled_ += rank.Recall();
    if (rank.rank() == 0) {
      root_offer_cost_ = meter_->Measure([&] { root_batch_ = &rank.MakeBatch(); });
      continue;
    }
    RUEDA_RETURN_IF_ERROR(Offer(rank));
  }
  return Status::Ok();
}

Status RankSample::Offer(SimulatedRank& rank) {
  const int group = workload_->GroupOf(rank.rank());
  const control::Batch* batch = nullptr;
  const std::vector<uint8_t>* encoded = nullptr;
  book_->Note(OfferKeyOf(group), meter_->Measure([&] { batch = &rank.MakeBatch(); }));
  book_->Note(EncodeKeyOf(group), meter_->Measure([&] { encoded = &rank.EncodeBatch(); }));
  Bytes& known = encoded_[static_cast<size_t>(group)];
  if (known == nullptr) {
    batches_[static_cast<size_t>(group)] = *batch;
    known = std::make_shared<const std::vector<uint8_t>>(*encoded);
  } else if (*known != *encoded) {
    return {StatusCode::kCorrupt, "rank " + std::to_string(rank.rank()) +
                                      " offered the same as others of its group in other bytes"};
  }
  return Status::Ok();
}

const control::Batch& RankSample::BatchOf(int rank) const {
  return batches_[static_cast<size_t>(workload_->GroupOf(rank))];
}

const Bytes& RankSample::EncodedBatchOf(int rank) const {
  return encoded_[static_cast<size_t>(workload_->GroupOf(rank))];
}

Duration RankSample::OfferCost(int rank) const {
  return book_->Of(OfferKeyOf(workload_->GroupOf(rank)));
}

Duration RankSample::EncodeCost(int rank) const {
  return book_->Of(EncodeKeyOf(workload_->GroupOf(rank)));
}

Status RankSample::CheckFrame(int rank, size_t index, const Bytes& bytes) const {
  if (index < frames_.size() && *frames_[index] == *bytes) return Status::Ok();
  return {StatusCode::kCorrupt, "rank " + std::to_string(rank) + " got frame " +
                                    std::to_string(index + 1) +
                                    " of a step in other bytes than others did"};
}

Status RankSample::Take(const Bytes& bytes, const control::Frame& frame) {
  for (SimulatedRank& rank : ranks_) {
    if (rank.rank() == 0) continue;
    Status status;
    recalled_ += rank.Recall();
    const Duration cost = meter_->Measure([&] { status = rank.Receive(*bytes); });
    RUEDA_RETURN_IF_ERROR(status);
    book_->Note(TakeKeyOf(workload_->GroupOf(rank.rank()), frames_.size()), cost);
    RUEDA_RETURN_IF_ERROR(Finish(rank, rank.frame().number));
  }
  frames_.push_back(bytes);
  frame_values_.push_back(frame);
  return Status::Ok();
}

Status RankSample::TakeAtRoot(const control::Frame& frame, Duration* cost) {
  Status status;
  recalled_ += ranks_.front().Recall();
  *cost = meter_->Measure([&] { status = ranks_.front().Take(frame); });
  RUEDA_RETURN_IF_ERROR(status);
  return Finish(ranks_.front(), frame.number);
}

Status RankSample::Finish(SimulatedRank& rank, uint64_t frame) {
  for (const PlannedSet& set : rank.planned()) {
    RUEDA_RETURN_IF_ERROR(ledger_.Note(frame, rank.rank(), set));
  }
  rank.Complete();
  return Status::Ok();
}

Duration RankSample::TakeCost(int rank, size_t index) const {
  return book_->Of(TakeKeyOf(workload_->GroupOf(rank), index));
}

Status RankSample::CheckAnswered() const {
  for (const SimulatedRank& rank : ranks_) {
    const bool waits = workload_->join_stays_open() && rank.rank() == workload_->joiner();
    const size_t expected = waits ? 1 : 0;
    if (rank.in_flight() != expected) {
      return {StatusCode::kCorrupt, "rank " + std::to_string(rank.rank()) + " has " +
                                        std::to_string(rank.in_flight() - expected) +
                                        " offers without an answer after a step"};
    }
  }
  return Status::Ok();
}

}  // namespace rueda::bench
