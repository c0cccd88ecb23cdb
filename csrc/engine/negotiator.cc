#include "engine/negotiator.h"

#include <optional>
#include <string>
#include <utility>

namespace rueda::engine {

Result<bool> Negotiator::Offer() {
  if (table_->has_new()) Collect();
  if (!ReadyToOffer()) return false;
  // Cleared before looking once more, so that no wish for haste is lost.
  table_->CalmDown();
  table_->TakeNew(&collected_);
  const std::vector<Work*> offered = std::exchange(collected_, {});
  if (!road_->closed()) RUEDA_RETURN_IF_ERROR(OfferInBatches(offered));
  if (road_->closed()) table_->CompleteUnagreed(*road_->closed());
  return true;
}

void Negotiator::Collect() {
  if (collected_.empty()) linger_until_ = parts_->clock->Now() + parts_->linger;
  table_->TakeNew(&collected_);
}

bool Negotiator::ReadyToOffer() const {
  if (collected_.empty() || closing_) return false;
  return table_->wants_haste() || parts_->clock->Now() >= linger_until_;
}

Status Negotiator::OfferInBatches(const std::vector<Work*>& offered) {
  control::Batch batch;
  size_t bytes = 0;
  for (Work* work : offered) {
    const auto& request = work->submission.request;
    const uint32_t slot = request->transient ? control::kNoSlot : slots_.Find(request);
    if (slot != control::kNoSlot) {
      batch.slots.push_back(slot);
      if (offered_by_slot_.size() <= slot) offered_by_slot_.resize(slot + 1);
      offered_by_slot_[slot] = work;
      continue;
    }
    bytes += control::EncodedBytes(*request);
    if (bytes > control::kMaxBatchRequestBytes) {
      RUEDA_RETURN_IF_ERROR(road_->Offer(std::exchange(batch, {})));
      bytes = control::EncodedBytes(*request);
    }
    batch.requests.push_back(*request);
  }
  return road_->Offer(batch);
}

Result<bool> Negotiator::Agree() {
  const bool was_closed = road_->closed().has_value();
  Result<bool> moved = road_->Poll();
  if (!moved.ok()) return moved.status();
  while (std::optional<control::Frame> frame = road_->TakeFrame()) {
    RUEDA_RETURN_IF_ERROR(Take(*frame));
    *moved = true;
  }
  // The coordinator left: what it agreed before still runs, nothing else ever will.
  if (!was_closed && road_->closed()) {
    collected_.clear();
    table_->CompleteUnagreed(*road_->closed());
  }
  return moved;
}

Work* Negotiator::WorkOf(const control::Response& response) {
  if (!response.cached) return table_->Find(response.name);
  return response.slot < offered_by_slot_.size() ? offered_by_slot_[response.slot] : nullptr;
}

Status Negotiator::Take(const control::Frame& frame) {
  std::vector<control::AgreedRequest> agreed;
  std::vector<Work*> works;
  for (const control::Response& response : frame.responses) {
    const bool mine = response.only_rank < 0 || response.only_rank == parts_->topology.rank;
    if (response.error.code() == StatusCode::kShutDown && response.only_rank >= 0) {
      leave_acknowledged_ |= mine;
      continue;
    }
    // Ranks that withhold a tensor for so long will not be waited for: the job ends.
    if (mine && response.error.code() == StatusCode::kStalled) return response.error;
    Work* work = mine ? WorkOf(response) : nullptr;
    if (work == nullptr) {
      if (!response.error.ok()) continue;  // an error for those who offered it
      return {StatusCode::kCorrupt, "frame " + std::to_string(frame.number) + " agrees on '" +
                                        response.name + "', which this rank did not offer"};
    }
    const auto& request = work->submission.request;
    if (!response.cached) slots_.Learn(request, response);
    if (!response.error.ok()) {
      table_->Complete(work, response.error);
      continue;
    }
    work->agreed = true;
    agreed.push_back({request.get(), response.cached ? slots_.Agreed(response.slot) : &response});
    works.push_back(work);
  }
  for (const control::PlannedBucket& planned :
       control::Plan(agreed, parts_->topology.size, frame.limits)) {
    Enqueue(planned, agreed, works, frame.limits);
  }
  return Status::Ok();
}

BucketBuffers Negotiator::BuffersOf(const control::PlannedBucket& planned,
                                    const std::vector<control::AgreedRequest>& agreed,
                                    const std::vector<Work*>& works) {
  const Bucket& bucket = planned.bucket;
  BucketBuffers buffers;
  if (bucket.in_place()) {
    // One span, the padding between tensors included, as it lies in every rank's arena.
    const auto own = static_cast<size_t>(parts_->topology.rank);
    buffers.inputs.push_back(
        {parts_->heap->At(bucket.placements[own]), bucket.counts.front(), bucket.dtype});
    buffers.outputs = buffers.inputs;
    return buffers;
  }
  for (const control::BucketSlice& slice : planned.slices) {
    Work* work = works[slice.agreed];
    const BucketBuffers& offered = work->submission.buffers;
    buffers.inputs.push_back(offered.inputs[slice.tensor]);
    buffers.outputs.push_back(
        bucket.kind == OpKind::kAllgather
            ? work->AllocateResult(slice.tensor, bucket, *agreed[slice.agreed].response)
            : offered.outputs[slice.tensor]);
  }
  return buffers;
}

void Negotiator::Enqueue(const control::PlannedBucket& planned,
                         const std::vector<control::AgreedRequest>& agreed,
                         const std::vector<Work*>& works, const control::Limits& limits) {
  BucketJob job;
  job.planned = planned;
  job.buffers = BuffersOf(planned, agreed, works);
  for (size_t index : planned.completes) job.completes.push_back(works[index]);
  job.touches = job.completes;
  for (const control::BucketSlice& slice : planned.slices) {
    job.touches.push_back(works[slice.agreed]);
  }
  const size_t named =
      planned.slices.empty() ? planned.completes.front() : planned.slices.front().agreed;
  const control::Request& request = *agreed[named].request;
  job.description = std::string(NameOf(request.kind)) + " '" + request.name + "'";
  executor_->Enqueue(std::move(job), limits.run_timeout);
}

}  // namespace rueda::engine
