#include "engine/one_shot_lane.h"

#include <algorithm>
#include <utility>

#include "control/fingerprint.h"

namespace rueda::engine {
namespace {

int64_t BytesOf(const control::Request& request) {
  int64_t bytes = 0;
  for (const control::TensorSpec& tensor : request.tensors) {
    bytes += static_cast<int64_t>(tensor.bytes());
  }
  return bytes;
}

}  // namespace

bool OneShotLane::Take(Work* work, uint64_t slot_wish) {
  if (meetings_ == nullptr || came_ || !IsFit(*work)) return false;
  const auto& request = work->submission.request;
  const bool is_small = IsSmall(*request);
  if (!is_small && slot_wish == 0) return false;
  if (meetings_->Look() == backends::OneShot::Sight::kOver) return false;
  if (left_out_ > 0) {
    --left_out_;
    return false;
  }
  for_slot_ = !is_small || !PlanFor(request);
  if (for_slot_ && slot_wish == 0) return false;
  work->ticket.MarkOffered();
  work_ = work;
  came_ = true;
  patient_until_ = parts_->clock->Now() + kPatience;
  for_slot_ ? meetings_->Come(slot_wish, {})
            : meetings_->Come(fingerprint_, work->submission.buffers);
  return true;
}

// A timeline shows how ranks agree, which they do not here.
bool OneShotLane::IsFit(const Work& work) const {
  const control::Request& request = *work.submission.request;
  if (!work.submission.driven || request.process_set != 0 || table_->tracer().on()) return false;
  // A barrier runs after all that this rank has in flight.
  return request.kind != OpKind::kBarrier || table_->SomeInFlight(0).count == 1;
}

bool OneShotLane::IsSmall(const control::Request& request) const {
  if (request.kind == OpKind::kBarrier) return true;
  if (request.kind != OpKind::kAllreduce || request.tensors.empty()) return false;
  return request.placement == control::kPrivate && BytesOf(request) <= meetings_->MostBytes();
}

// What has several buckets, or none that can be run, is offered.
bool OneShotLane::PlanFor(const std::shared_ptr<const control::Request>& request) {
  if (planned_for_ == request) return true;
  const control::Response whole;
  const control::AgreedRequest agreed{request.get(), &whole};
  std::vector<control::PlannedBucket> buckets =
      control::Plan({&agreed, 1}, *executor_->RanksOf(0), parts_->coordinator.limits);
  if (buckets.size() != 1 || !IsReducible(buckets.front().bucket.dtype)) return false;
  bucket_ = std::move(buckets.front().bucket);
  fingerprint_ = control::FingerprintOf(*request);
  planned_for_ = request;
  return true;
}

OneShotLane::Outcome OneShotLane::Step() {
  if (meetings_ == nullptr) return {};
  switch (meetings_->Look()) {
    case backends::OneShot::Sight::kNobody:
    case backends::OneShot::Sight::kOver:
      return {};
    case backends::OneShot::Sight::kOthers:
      return {AwaitsAnswers() && CallOff()};
    case backends::OneShot::Sight::kWaits:
      return {parts_->clock->Now() >= patient_until_ && CallOff()};
    case backends::OneShot::Sight::kAgreed:
      return Agreed();
    case backends::OneShot::Sight::kApart:
      return Apart();
  }
  return {};
}

bool OneShotLane::CallOff() {
  meetings_->CallOff();
  return true;
}

// To what others may be at a meeting for; and who has joined waits for all there is. That others
// wait at once for something large that this rank does not wait for is left to their patience:
// gradients that are under way call off no meeting.
bool OneShotLane::AwaitsAnswers() const {
  return table_->HasUnagreed([this](const Submission& submission) {
    const control::Request& request = *submission.request;
    if (request.process_set != 0) return false;
    return submission.driven || request.kind == OpKind::kJoin || IsSmall(request);
  });
}

OneShotLane::Outcome OneShotLane::Agreed() {
  came_ = false;
  patient_until_ = kNever;
  failures_ = 0;
  Work* const work = std::exchange(work_, nullptr);
  if (work == nullptr) return {true};  // it has ended meanwhile, with an error
  if (for_slot_) return {.moved = true, .to_run = work};
  meetings_->Reduce(bucket_, work->submission.buffers);
  work->agreed = true;
  table_->tracer().CountAgreed();
  executor_->RanAside(*work);
  table_->Complete(work, Status::Ok());
  return {true};
}

OneShotLane::Outcome OneShotLane::Apart() {
  came_ = false;
  patient_until_ = kNever;
  failures_ = std::min(failures_ + 1, kMostFailures);
  left_out_ = 1 << failures_;
  return {.moved = true, .to_offer = std::exchange(work_, nullptr)};
}

void OneShotLane::End() {
  if (meetings_ == nullptr) return;
  work_ = nullptr;
  came_ = false;
  patient_until_ = kNever;
  std::exchange(meetings_, nullptr)->End();
}

}  // namespace rueda::engine
