#include "engine/negotiator.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "control/process_sets.h"

namespace rueda::engine {
namespace {

// Elements that this rank gives away in an alltoall.
int64_t SentBy(const Bucket& bucket, const Place& place) {
  const auto members = static_cast<ptrdiff_t>(place.members);
  const auto row = bucket.counts.begin() + static_cast<ptrdiff_t>(place.member) * members;
  return std::accumulate(row, row + members, int64_t{0});
}

}  // namespace

Result<bool> Negotiator::Offer() {
  if (table_->has_new()) Collect();
  if (!ReadyToOffer()) return false;
  // Cleared before looking once more, so that no wish for haste is lost.
  table_->CalmDown();
  TakeNew(SubmissionTable::AndThen::kSleeps);
  offered_.clear();
  offered_.swap(collected_);
  SendToMeeting(&offered_);
  if (offered_.empty()) return true;
  if (!road_->closed()) RUEDA_RETURN_IF_ERROR(OfferInBatches(offered_));
  if (road_->closed()) RUEDA_RETURN_IF_ERROR(EndUnagreed());
  return true;
}

Status Negotiator::StopOffering() {
  closing_ = true;
  RUEDA_RETURN_IF_ERROR(SettleMeeting());
  one_shots_.End();
  return Status::Ok();
}

Status Negotiator::EndUnagreed() {
  RUEDA_RETURN_IF_ERROR(SettleMeeting());
  one_shots_.End();
  collected_.clear();
  table_->CompleteUnagreed(*road_->closed());
  return Status::Ok();
}

void Negotiator::Collect() {
  linger_.Took(parts_->clock->Now(), collected_.empty());
  TakeNew(SubmissionTable::AndThen::kComesBack);
}

void Negotiator::TakeNew(SubmissionTable::AndThen and_then) {
  const size_t before = collected_.size();
  table_->TakeNew(&collected_, and_then);
  if (tuner_ == nullptr) return;
  for (size_t i = before; i < collected_.size(); ++i) {
    tuner_->Submitted(*collected_[i]->submission.request);
  }
}

void Negotiator::Refuse(Work* work, const Status& error) {
  // An answer to others, such as that a rank has left, may be about what waits at a meeting here.
  one_shots_.Forget(work);
  if (tuner_ != nullptr) tuner_->Completed(*work->submission.request);
  table_->Complete(work, error);
}

bool Negotiator::ReadyToOffer() const {
  if (collected_.empty() || closing_) return false;
  return table_->wants_haste() || parts_->clock->Now() >= linger_.until();
}

Status Negotiator::OfferInBatches(const std::vector<Work*>& offered) {
  if (table_->tracer().on()) table_->tracer().Offered(offered);
  for (Work* work : offered) work->ticket.MarkOffered();
  control::Batch& batch = batch_;
  batch.Clear();
  size_t bytes = 0;
  for (Work* work : offered) {
    const auto& request = work->submission.request;
    const uint32_t slot = request->transient ? control::kNoSlot : slots_.Find(request);
    if (slot != control::kNoSlot) {
      batch.slots.Insert(slot);
      RememberOffer(slot, work);
      continue;
    }
    bytes += control::EncodedBytes(*request);
    if (bytes > control::kMaxBatchRequestBytes) {
      RUEDA_RETURN_IF_ERROR(road_->Offer(batch));
      batch.Clear();
      bytes = control::EncodedBytes(*request);
    }
    batch.requests.push_back(request);
  }
  return road_->Offer(batch);
}

Result<bool> Negotiator::Agree() {
  const bool was_closed = road_->closed().has_value();
  Result<bool> moved = road_->Poll();
  if (!moved.ok()) return moved.status();
  while (const control::Frame* frame = road_->TakeFrame()) {
    RUEDA_RETURN_IF_ERROR(SettleMeeting());
    RUEDA_RETURN_IF_ERROR(Take(*frame));
    *moved = true;
  }
  const Result<bool> met = Meet();
  if (!met.ok()) return met;
  *moved |= *met;
  // The coordinator left: what it agreed before still runs, nothing else ever will.
  if (!was_closed && road_->closed()) RUEDA_RETURN_IF_ERROR(EndUnagreed());
  return moved;
}

void Negotiator::RememberOffer(uint32_t slot, Work* work) {
  if (offered_by_slot_.size() <= slot) offered_by_slot_.resize(slot + 1);
  offered_by_slot_[slot] = work;
}

void Negotiator::Round::Clear() {
  cached.Clear();
  agreed.clear();
  works.clear();
}

void Negotiator::Taken::Clear() {
  rounds.Clear();
  removals.clear();
}

Status Negotiator::Take(const control::Frame& frame) {
  frame_ = frame.number;
  met_.number = frame.number;
  met_.limits = frame.limits;
  linger_.SetPause(frame.limits.linger);
  if (table_->tracer().on()) table_->tracer().TookFrame(frame);
  return Run(frame);
}

Status Negotiator::Run(const control::Frame& frame) {
  taken_.Clear();
  RUEDA_RETURN_IF_ERROR(TakeCached(frame));
  for (const control::Response& response : frame.responses) {
    RUEDA_RETURN_IF_ERROR(TakeResponse(response));
  }
  for (const Round& round : taken_.rounds) {
    const control::SharedPlan plan =
        plans_.PlanOf({round.process_set, round.cached, frame.limits}, round.agreed,
                      *executor_->RanksOf(round.process_set));
    for (const control::PlannedBucket& planned : *plan) {
      Enqueue({plan, &planned}, round, frame.limits);
    }
  }
  // What the frame agreed for a set before its end still runs.
  for (Work* work : taken_.removals) {
    const auto id = static_cast<uint32_t>(work->submission.request->parts.front());
    slots_.ForgetSet(id);
    plans_.Forget();
    if (executor_->RanksOf(id) != nullptr) {
      executor_->RemoveSet(id, work);
    } else {
      table_->Complete(work, Status::Ok());
    }
  }
  return Status::Ok();
}

Status Negotiator::TakeCached(const control::Frame& frame) {
  size_t known = 0;
  for (const auto& [process_set, slots] : slots_.sets()) {
    control::BitSet cached = frame.cached;
    cached.Intersect(slots);
    known += cached.count();
    if (cached.empty()) continue;
    const Result<bool> takes_part = TakesPart(process_set);
    if (!takes_part.ok()) return takes_part.status();
    if (*takes_part) RUEDA_RETURN_IF_ERROR(TakeCachedOf(frame, cached, &taken_.Of(process_set)));
  }
  return known == frame.cached.count() ? Status::Ok() : NotOffered("slots it was never given");
}

Status Negotiator::TakeCachedOf(const control::Frame& frame, const control::BitSet& cached,
                                Round* round) {
  round->cached = cached;
  round->agreed.reserve(cached.count());
  round->works.reserve(cached.count());
  cached.ForEach([&](size_t slot) {
    Work* const work = slot < offered_by_slot_.size() ? offered_by_slot_[slot] : nullptr;
    if (work == nullptr) return;
    work->agreed = true;
    table_->tracer().CountAgreed();
    round->agreed.push_back(
        {work->submission.request.get(), slots_.Agreed(static_cast<uint32_t>(slot))});
    round->works.push_back(work);
  });
  if (round->works.size() < cached.count()) return NotOffered("slots of other requests");
  if (table_->tracer().on()) TraceCached(frame, cached);
  return Status::Ok();
}

void Negotiator::TraceCached(const control::Frame& frame, const control::BitSet& cached) const {
  size_t index = 0;
  frame.cached.ForEach([&](size_t slot) {
    // Only where the frame was made it is known how the offers came in.
    const control::Arrival arrival =
        index < frame.arrivals.size() ? frame.arrivals[index] : control::Arrival{};
    ++index;
    if (cached.Contains(slot)) table_->tracer().Agreed(offered_by_slot_[slot], arrival);
  });
}

Status Negotiator::NotOffered(const std::string& what) const {
  return {StatusCode::kCorrupt, "frame " + std::to_string(frame_) + " agrees on " + what +
                                    ", which this rank did not offer"};
}

Status Negotiator::TakeResponse(const control::Response& response) {
  const int own = parts_->topology.rank;
  if (!response.AddressedTo(own)) return Status::Ok();
  if (response.error.code() == StatusCode::kShutDown && response.only_rank >= 0) {
    leave_acknowledged_ = true;
    return Status::Ok();
  }
  // Ranks that withhold a tensor for so long will not be waited for: the job ends.
  if (response.error.code() == StatusCode::kStalled) return response.error;
  if (response.error.ok()) {
    const Result<bool> takes_part = TakesPart(response.process_set);
    if (!takes_part.ok()) return takes_part.status();
    if (!*takes_part) {
      // Another set's slots are to be known, because frames name them.
      if (response.absent.empty()) Learn(nullptr, response);
      return Status::Ok();
    }
  }
  Work* const work = table_->Find({response.process_set, response.name});
  if (work == nullptr && response.IsAbsent(own)) {
    Round& round = taken_.Of(response.process_set);
    round.agreed.push_back({response.request.get(), &response});
    round.works.push_back(nullptr);
    return Status::Ok();
  }
  // An error may be for those who offered it.
  if (work == nullptr || (response.error.ok() && one_shots_.Has(work))) {
    return response.error.ok() ? NotOffered("'" + response.name + "'") : Status();
  }
  if (response.absent.empty()) Learn(work->submission.request, response);
  if (!response.error.ok()) {
    Refuse(work, response.error);
    return Status::Ok();
  }
  return TakeAgreed(response, response.arrival, work);
}

void Negotiator::Learn(const std::shared_ptr<const control::Request>& request,
                       const control::Response& response) {
  slots_.Learn(request, response);
  plans_.Forget();
}

Status Negotiator::TakeAgreed(const control::Response& response, const control::Arrival& arrival,
                              Work* work) {
  const control::Request& request = *work->submission.request;
  if (table_->tracer().on()) table_->tracer().Agreed(work, arrival);
  work->agreed = true;
  table_->tracer().CountAgreed();
  work->number = response.number;
  if (request.kind == OpKind::kAddProcessSet) return AddSet(response, work);
  if (request.kind == OpKind::kRemoveProcessSet) {
    taken_.removals.push_back(work);
    return Status::Ok();
  }
  Round& round = taken_.Of(request.process_set);
  round.agreed.push_back({&request, &response});
  round.works.push_back(work);
  return Status::Ok();
}

// Whether this rank is in the set. A pair is met here for the first time.
Result<bool> Negotiator::TakesPart(uint32_t process_set) {
  if (executor_->RanksOf(process_set) != nullptr) return true;
  if (process_set < control::kPairBit) return false;
  const auto [low, high] = control::RanksOfPair(process_set);
  const int own = parts_->topology.rank;
  if (own != low && own != high) return false;
  RUEDA_RETURN_IF_ERROR(executor_->AddSet(process_set, {low, high}, {}, nullptr));
  return true;
}

Status Negotiator::AddSet(const control::Response& response, Work* work) {
  const control::Request& request = *work->submission.request;
  std::vector<int> ranks(request.parts.begin(), request.parts.end());
  std::sort(ranks.begin(), ranks.end());
  if (std::find(ranks.begin(), ranks.end(), parts_->topology.rank) != ranks.end()) {
    std::vector<int64_t> memory;
    for (const int rank : ranks) {
      const int64_t placement = response.placements.at(static_cast<size_t>(rank));
      if (placement != control::kPrivate) memory.push_back(placement);
    }
    RUEDA_RETURN_IF_ERROR(executor_->AddSet(static_cast<uint32_t>(response.number), ranks,
                                            std::move(memory), work->submission.keep_alive));
  }
  table_->Complete(work, Status::Ok());
  return Status::Ok();
}

Place Negotiator::PlaceIn(uint32_t process_set) const {
  const std::vector<int>& ranks = *executor_->RanksOf(process_set);
  const int own = parts_->topology.rank;
  const auto at = std::lower_bound(ranks.begin(), ranks.end(), own);
  return {own, static_cast<size_t>(at - ranks.begin()), ranks.size()};
}

BucketBuffers Negotiator::BuffersOf(const control::PlannedBucket& planned, const Round& round) {
  const Bucket& bucket = planned.bucket;
  const Place place = PlaceIn(round.process_set);
  const auto member = static_cast<int>(place.member);
  BucketBuffers buffers;
  if (bucket.IsAbsent(member)) return buffers;
  if (bucket.in_place()) {
    // One span, the padding between tensors included, as it lies in every rank's arena.
    buffers.inputs.push_back(
        {parts_->heap->At(bucket.placements[place.member]), bucket.counts.front(), bucket.dtype});
    buffers.outputs = buffers.inputs;
    return buffers;
  }
  const bool receives = bucket.kind != OpKind::kReduce || bucket.root == member;
  buffers.inputs.reserve(planned.slices.size());
  if (receives) buffers.outputs.reserve(planned.slices.size());
  for (const control::BucketSlice& slice : planned.slices) {
    Work* work = round.works[slice.agreed];
    const Submission& submission = work->submission;
    buffers.inputs.push_back(submission.buffers.inputs[slice.tensor]);
    if (bucket.kind == OpKind::kAlltoall) buffers.inputs.back().count = SentBy(bucket, place);
    if (!receives) continue;
    const control::Response& response = *round.agreed[slice.agreed].response;
    buffers.outputs.push_back(PartsDiffer(submission.request->kind)
                                  ? work->AllocateResult(slice.tensor, bucket, response, place)
                                  : submission.buffers.outputs[slice.tensor]);
  }
  return buffers;
}

void Negotiator::Enqueue(std::shared_ptr<const control::PlannedBucket> shared, const Round& round,
                         const control::Limits& limits) {
  const control::PlannedBucket& planned = *shared;
  BucketJob job;
  job.planned = std::move(shared);
  job.frame = frame_;
  job.buffers = BuffersOf(planned, round);
  const auto add = [&](size_t index, std::vector<Work*>* works) {
    Work* const work = round.works[index];
    if (work == nullptr || (!works->empty() && works->back() == work)) return;
    works->push_back(work);
  };
  for (size_t index : planned.completes) add(index, &job.completes);
  job.touches = job.completes;
  for (const control::BucketSlice& slice : planned.slices) add(slice.agreed, &job.touches);
  const size_t named =
      planned.slices.empty() ? planned.completes.front() : planned.slices.front().agreed;
  const control::Request& request = *round.agreed[named].request;
  job.description = std::string(NameOf(request.kind)) + " '" + request.name + "'";
  executor_->Enqueue(std::move(job), limits.run_timeout);
}

}  // namespace rueda::engine
