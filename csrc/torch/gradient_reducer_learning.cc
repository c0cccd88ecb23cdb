// gradient_reducer_learning.cc: where GradientReducer's layout is learned and changed, once.
#include <algorithm>
#include <cmath>
#include <utility>

#include "torch/gradient_reducer.h"

namespace rueda::pytorch {
namespace {

// What placing one bucket may take beside its bytes: rounding up to pages, even to pages of 64 KiB,
// and the distance that ranks keep in a page.
constexpr int64_t kPlacingBytes = int64_t{128} << 10;

std::string Microseconds(double seconds) {
  return std::to_string(std::llround(seconds * 1e6)) + " us";
}

// "other sizes end sooner (predicted end 900 us after the first gradient, before 1200 us; ...)"
std::string Report(const LayoutDecision& decision) {
  std::string text(decision.reason);
  text += " (predicted end " + Microseconds(decision.end_after) + " after the first gradient";
  if (!decision.changes) return text + ")";
  return text + ", before " + Microseconds(decision.end_before) + "; buckets of " +
         std::to_string(decision.limits.first_bytes) + " and " +
         std::to_string(decision.limits.bytes) + " bytes)";
}

}  // namespace

bool GradientReducer::IsUngrouped(size_t index) const {
  const GradientSlot& slot = slots_[index];
  return slot.bucket() != nullptr && slot.group == GradientSlot::kNoGroup;
}

void GradientReducer::OfferLearning() {
  if (!learner_.active() || !learner_.BeginOffer()) return;
  learner_.Offer(*engine_, learner_.ready() && HasRoom());
}

void GradientReducer::BeginLearningWait() {
  if (!learner_.active()) return;
  WaitedBuckets waited;
  TimePoint since = kNever;
  for (const auto& bucket : buckets_) {
    if (bucket->pending() == nullptr) continue;
    since = std::min(since, bucket->submitted_at());
    waited.buckets += 1;
    waited.bytes += static_cast<double>(bucket->payload_bytes());
  }
  learner_.BeginWait(since, waited);
}

bool GradientReducer::HasRoom() const {
  int64_t bytes = 0;
  for (const auto& bucket : buckets_) {
    if (!bucket->placed() || !IsUngrouped(bucket->members().front())) continue;
    bytes += bucket->span_bytes() + kPlacingBytes * static_cast<int64_t>(bucket->members().size());
  }
  return bytes == 0 || engine_->Allocate(bytes).ok();  // and given back: nothing was touched
}

void GradientReducer::Rearrange(const Learned& learned) {
  learned_ = "no rank saw a backward pass";
  if (learned.arrivals.empty()) return;
  learned_ = "a rank's shared memory has no room for a second layout; raise RUEDA_ARENA_BYTES";
  if (!learned.has_room) return;
  std::vector<TimedItem> items;
  std::vector<size_t> others;
  for (const size_t index : order_) {
    if (!IsUngrouped(index)) {
      others.push_back(index);
      continue;
    }
    const control::TensorSpec spec = slots_[index].Spec();
    items.push_back(
        {{index, spec.dtype, static_cast<int64_t>(spec.bytes())}, learned.arrivals[index]});
  }
  const LayoutDecision decision = DecideLayout(items, limits_, learned.cost, learned.keeps_limits);
  learned_ = Report(decision);
  if (!decision.changes) return;
  order_.clear();
  for (const size_t position : decision.positions) {
    order_.push_back(items[position].item.parameter);
  }
  // Parameters that may get a place later.
  order_.insert(order_.end(), others.begin(), others.end());
  limits_ = decision.limits;
  Retire([this](const GradientBucket& bucket) { return IsUngrouped(bucket.members().front()); });
  begins_layout_ = true;
}

}  // namespace rueda::pytorch
