#include "backends/shm/shm_run.h"

#include <algorithm>
#include <numeric>

namespace rueda::backends {
namespace {

bool IsBehind(const std::atomic<uint64_t>& other, const std::atomic<uint64_t>& own) {
  return other.load(std::memory_order_acquire) < own.load(std::memory_order_relaxed);
}

}  // namespace

ShmRun::ShmRun(const ShmGroup* group, StagingRing* ring) : group_(group), ring_(ring) {
  present_.resize(static_cast<size_t>(group->size()));
  std::iota(present_.begin(), present_.end(), 0);
  present_index_ = group->index;
  present_until_.resize(present_.size());
}

void ShmRun::Reset(const Bucket& bucket, const BucketBuffers& buffers, const ShmPlan& plan) {
  bucket_ = &bucket;
  buffers_ = &buffers;
  plan_ = plan;
  spec_ = {bucket.dtype, bucket.op, bucket.divisor, bucket.prescale, bucket.postscale};
  first_ = ring_->placed();
  packed_ = consumed_ = finished_ = placed_ = 0;
  // Each by itself: a copy would read what the processor is still writing.
  input_ = collectives::PieceCursor(buffers.inputs);
  output_ = collectives::PieceCursor(buffers.outputs);
  consumed_input_ = collectives::PieceCursor(buffers.inputs);
  consumed_output_ = collectives::PieceCursor(buffers.outputs);
  if (static_cast<int>(present_.size() + bucket.absent.size()) != group_->size() ||
      !bucket.absent.empty()) {
    PrepareAbsence();
  }
  for (const int member : present_) {
    present_until_[static_cast<size_t>(member)] = first_ + static_cast<uint64_t>(plan_.units);
  }
  if (plan_.scheme == ShmScheme::kExchange) PrepareExchange();
  if (bucket.IsAbsent(group_->index)) SkipUnits();
}

void ShmRun::PrepareAbsence() {
  present_.clear();
  for (int member = 0; member < group_->size(); ++member) {
    if (member == group_->index) present_index_ = static_cast<int>(present_.size());
    if (!bucket_->IsAbsent(member)) present_.push_back(member);
  }
  if (!bucket_->absent.empty() && Reduces(bucket_->kind)) {
    zeros_.resize(static_cast<size_t>(plan_.unit_bytes));
  }
}

void ShmRun::SkipUnits() {
  for (int64_t unit = 0; unit < plan_.units; ++unit) {
    (void)ring_->Next(UsesStaging() ? StagedBytesOf(unit) : 0);
  }
  packed_ = consumed_ = finished_ = plan_.units;
  Publish(&ShmCounters::packed, ring_->placed());
  Publish(&ShmCounters::reduced, ring_->placed());
  Publish(&ShmCounters::released, ring_->placed());
  WakeOthers();
}

Result<Progress> ShmRun::Step() {
  bool moved = Finish();
  moved |= Consume();
  moved |= Pack();
  if (finished_ == plan_.units) return Progress::kDone;
  return moved ? Progress::kMoved : Progress::kWaiting;
}

bool ShmRun::UsesStaging() const {
  return plan_.scheme != ShmScheme::kInPlace && plan_.scheme != ShmScheme::kAlone;
}

bool ShmRun::SharesSlices() const {
  return plan_.scheme == ShmScheme::kSliced || plan_.scheme == ShmScheme::kInPlace;
}

// In place everybody does: its own bucket is written by all.
bool ShmRun::ReceivesSlices() const {
  return SharesSlices() && (bucket_->kind != OpKind::kReduce || bucket_->root == group_->index);
}

int64_t ShmRun::StagedBytesOf(int64_t unit) const {
  const int64_t bytes = plan_.BytesOf(unit);
  return plan_.scheme == ShmScheme::kScatter ? plan_.unit_bytes * group_->size() : bytes;
}

// Only what takes long enough to be timed.
bool ShmRun::Chooses() const {
  return plan_.scheme == ShmScheme::kSliced && present_.front() == group_->index;
}

template <typename Work>
void ShmRun::Timed(int64_t unit, Work&& work) {
  if (!Chooses()) return work();
  const TimePoint begun = SteadyClock().Now();
  work();
  busy_[static_cast<size_t>(unit % kInFlight)] += SteadyClock().Now() - begun;
}

bool ShmRun::Pack() {
  if (packed_ == plan_.units || packed_ - finished_ == kInFlight) return false;
  if (placed_ == packed_) {
    const int64_t staged_bytes = UsesStaging() ? StagedBytesOf(packed_) : 0;
    places_[static_cast<size_t>(placed_++ % kInFlight)] = ring_->Next(staged_bytes);
  }
  if (!MayReuse(places_[static_cast<size_t>(packed_ % kInFlight)].reusable_after)) return false;
  if (Chooses())
    group_->own().counters->streams.store(choice_.streams(), std::memory_order_relaxed);
  const auto& chooser = group_->members[static_cast<size_t>(present_.front())];
  streams_ = chooser.counters->streams.load(std::memory_order_relaxed) != 0;
  busy_[static_cast<size_t>(packed_ % kInFlight)] = Duration::zero();
  Timed(packed_, [&] { PackUnit(packed_); });
  Publish(&ShmCounters::packed, Global(++packed_));
  if (UsesStaging()) WakeOthers();
  return true;
}

bool ShmRun::Consume() {
  if (consumed_ == packed_) return false;
  // In place there is nothing to wait for: agreement proved that all contributions are complete
  // (I2). A broadcast waits for its root alone.
  if (plan_.scheme == ShmScheme::kFromRoot) {
    const auto& root = group_->members[static_cast<size_t>(bucket_->root)];
    if (root.counters->packed.load(std::memory_order_acquire) <= Global(consumed_)) return false;
  } else if (UsesStaging() && !AllHave(&ShmCounters::packed, Global(consumed_) + 1)) {
    return false;
  }
  Timed(consumed_, [&] { ConsumeUnit(consumed_); });
  Publish(&ShmCounters::reduced, Global(++consumed_));
  if (SharesSlices()) WakeOthers();
  return true;
}

bool ShmRun::Finish() {
  if (finished_ == consumed_) return false;
  if (ReceivesSlices() && !AllHave(&ShmCounters::reduced, Global(finished_) + 1)) return false;
  Timed(finished_, [&] { FinishUnit(finished_); });
  if (Chooses()) {
    choice_.Measured(plan_.BytesOf(finished_), busy_[static_cast<size_t>(finished_ % kInFlight)]);
  }
  Publish(&ShmCounters::released, Global(++finished_));
  WakeOthers();  // whoever waits for room in the staging ring
  return true;
}

std::vector<int> ShmRun::WaitsFor() const {
  std::vector<int> behind;
  const ShmCounters& own = *group_->own().counters;
  // Of who has come as far, one may still hold staging memory that is to be written again.
  for (const bool counts_memory : {false, true}) {
    for (const int member : present_) {
      const ShmCounters& other = *group_->members[static_cast<size_t>(member)].counters;
      const bool is_behind = counts_memory ? IsBehind(other.released, own.released)
                                           : IsBehind(other.packed, own.packed) ||
                                                 IsBehind(other.reduced, own.reduced);
      if (is_behind) behind.push_back(member);
    }
    if (!behind.empty()) break;
  }
  return behind;
}

bool ShmRun::AllHave(std::atomic<uint64_t> ShmCounters::*counter, uint64_t count) const {
  for (const int member : present_) {
    const ShmCounters& counters = *group_->members[static_cast<size_t>(member)].counters;
    if ((counters.*counter).load(std::memory_order_acquire) < count) return false;
  }
  return true;
}

// Peers may still read what staging memory held before: also those that are absent now, but were
// there then.
bool ShmRun::MayReuse(uint64_t reusable_after) const {
  for (size_t member = 0; member < group_->members.size(); ++member) {
    const uint64_t needed = std::min(reusable_after, present_until_[member]);
    const auto& released = group_->members[member].counters->released;
    if (released.load(std::memory_order_acquire) < needed) return false;
  }
  return true;
}

void ShmRun::Publish(std::atomic<uint64_t> ShmCounters::*counter, uint64_t count) {
  (group_->own().counters->*counter).store(count, std::memory_order_release);
}

void ShmRun::WakeOthers() {
  for (const int member : present_) {
    if (member != group_->index) group_->members[static_cast<size_t>(member)].doorbell->Ring();
  }
}

uint8_t* ShmRun::Staged(int member, int64_t unit) const {
  return group_->members[static_cast<size_t>(member)].staging +
         places_[static_cast<size_t>(unit % kInFlight)].offset;
}

}  // namespace rueda::backends
