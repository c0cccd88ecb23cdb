#include "backends/shm/shm_run.h"

#include <algorithm>
#include <cstring>

namespace rueda::backends {
namespace {

constexpr int64_t kCacheLine = 64;

}  // namespace

ShmRun::ShmRun(const ShmGroup* group, StagingRing* ring) : group_(group), ring_(ring) {
  sources_.resize(static_cast<size_t>(group->size()));
  destinations_.resize(static_cast<size_t>(group->size()));
}

void ShmRun::Reset(const Bucket& bucket, const BucketBuffers& buffers) {
  bucket_ = &bucket;
  buffers_ = &buffers;
  plan_ = PlanShm(bucket, group_->size());
  spec_ = {bucket.dtype, bucket.op, bucket.divisor, bucket.prescale, bucket.postscale};
  first_ = ring_->placed();
  packed_ = consumed_ = finished_ = placed_ = 0;
  input_ = collectives::PieceCursor(buffers.inputs);
  output_ = collectives::PieceCursor(buffers.outputs);
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

bool ShmRun::Pack() {
  if (packed_ == plan_.units || packed_ - finished_ == kInFlight) return false;
  if (placed_ == packed_) {
    const int64_t staged_bytes = UsesStaging() ? plan_.BytesOf(packed_) : 0;
    places_[static_cast<size_t>(placed_++ % kInFlight)] = ring_->Next(staged_bytes);
  }
  // Peers may still read what this memory held before.
  if (!AllHave(&ShmCounters::released,
               places_[static_cast<size_t>(packed_ % kInFlight)].reusable_after)) {
    return false;
  }
  PackUnit(packed_);
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
  ConsumeUnit(consumed_);
  Publish(&ShmCounters::reduced, Global(++consumed_));
  if (SharesSlices()) WakeOthers();
  return true;
}

bool ShmRun::Finish() {
  if (finished_ == consumed_) return false;
  if (SharesSlices() && !AllHave(&ShmCounters::reduced, Global(finished_) + 1)) return false;
  FinishUnit(finished_);
  Publish(&ShmCounters::released, Global(++finished_));
  WakeOthers();  // whoever waits for room in the staging ring
  return true;
}

void ShmRun::PackUnit(int64_t unit) {
  if (!UsesStaging()) return;
  if (plan_.scheme == ShmScheme::kFromRoot && group_->index != bucket_->root) return;
  uint8_t* to = Staged(group_->index, unit);
  input_.Next(plan_.BytesOf(unit), [&](const uint8_t* from, size_t bytes) {
    std::memcpy(to, from, bytes);
    to += bytes;
  });
}

void ShmRun::ConsumeUnit(int64_t unit) {
  switch (plan_.scheme) {
    case ShmScheme::kAlone:
      return ReduceAlone();
    case ShmScheme::kInPlace:
      return ReduceInPlace(unit);
    case ShmScheme::kSymmetric:
      return ReduceAll(unit);
    case ShmScheme::kSliced:
      return ReduceSlice(unit);
    case ShmScheme::kGather:
      return CopyContributions(unit);
    case ShmScheme::kFromRoot:
      return CopyFromRoot(unit);
  }
}

void ShmRun::FinishUnit(int64_t unit) {
  if (plan_.scheme == ShmScheme::kSliced) CopySlices(unit);
}

void ShmRun::ReduceAlone() {
  // One rank's inputs and outputs are the same tensors in the same order.
  for (size_t i = 0; i < buffers_->inputs.size(); ++i) {
    const void* source = buffers_->inputs[i].data;
    void* destination = buffers_->outputs[i].data;
    device::Reduce(spec_, {&source, 1}, {&destination, 1}, buffers_->inputs[i].count);
  }
}

void ShmRun::ReduceInPlace(int64_t unit) {
  const collectives::Range slice = SliceOfUnit(unit, group_->index);
  const int64_t start = unit * plan_.unit_bytes + slice.begin;
  for (size_t i = 0; i < sources_.size(); ++i) {
    uint8_t* at = group_->members[i].arena + bucket_->placements[i] + start;
    sources_[i] = at;
    destinations_[i] = at;
  }
  const auto element = static_cast<int64_t>(SizeOf(bucket_->dtype));
  device::Reduce(spec_, sources_, destinations_, slice.size() / element);
}

void ShmRun::ReduceSlice(int64_t unit) {
  const collectives::Range slice = SliceOfUnit(unit, group_->index);
  for (size_t i = 0; i < sources_.size(); ++i) {
    sources_[i] = Staged(static_cast<int>(i), unit) + slice.begin;
  }
  // Only the owner reads this slice of its own staging memory, so the sum goes there.
  void* destination = Staged(group_->index, unit) + slice.begin;
  const auto element = static_cast<int64_t>(SizeOf(bucket_->dtype));
  device::Reduce(spec_, sources_, {&destination, 1}, slice.size() / element);
}

void ShmRun::ReduceAll(int64_t unit) {
  const auto element = static_cast<int64_t>(SizeOf(bucket_->dtype));
  int64_t offset = 0;
  output_.Next(plan_.BytesOf(unit), [&](uint8_t* to, size_t bytes) {
    for (size_t i = 0; i < sources_.size(); ++i) {
      sources_[i] = Staged(static_cast<int>(i), unit) + offset;
    }
    void* destination = to;
    device::Reduce(spec_, sources_, {&destination, 1}, static_cast<int64_t>(bytes) / element);
    offset += static_cast<int64_t>(bytes);
  });
}

void ShmRun::CopySlices(int64_t unit) {
  for (int owner = 0; owner < group_->size(); ++owner) {
    const collectives::Range slice = SliceOfUnit(unit, owner);
    const uint8_t* from = Staged(owner, unit) + slice.begin;
    output_.Next(slice.size(), [&](uint8_t* to, size_t bytes) {
      std::memcpy(to, from, bytes);
      from += bytes;
    });
  }
}

void ShmRun::CopyContributions(int64_t unit) {
  const auto element = static_cast<int64_t>(SizeOf(bucket_->dtype));
  auto* to = static_cast<uint8_t*>(buffers_->outputs.front().data);
  const int64_t start = unit * plan_.unit_bytes;
  for (int member = 0; member < group_->size(); ++member) {
    const int64_t contributed = bucket_->counts[static_cast<size_t>(member)] * element;
    const int64_t bytes = std::min(contributed - start, plan_.unit_bytes);
    if (bytes > 0) std::memcpy(to + start, Staged(member, unit), static_cast<size_t>(bytes));
    to += contributed;
  }
}

void ShmRun::CopyFromRoot(int64_t unit) {
  const uint8_t* from = Staged(bucket_->root, unit);
  output_.Next(plan_.BytesOf(unit), [&](uint8_t* to, size_t bytes) {
    // The root's output may be its input, which has been packed already.
    std::memcpy(to, from, bytes);
    from += bytes;
  });
}

std::vector<int> ShmRun::WaitsFor() const {
  std::vector<int> behind;
  const ShmCounters& own = *group_->own().counters;
  for (int member = 0; member < group_->size(); ++member) {
    const ShmCounters& other = *group_->members[static_cast<size_t>(member)].counters;
    if (other.packed.load(std::memory_order_acquire) < own.packed.load(std::memory_order_relaxed) ||
        other.reduced.load(std::memory_order_acquire) <
            own.reduced.load(std::memory_order_relaxed)) {
      behind.push_back(member);
    }
  }
  return behind;
}

bool ShmRun::AllHave(std::atomic<uint64_t> ShmCounters::*counter, uint64_t count) const {
  for (const ShmMember& member : group_->members) {
    if ((member.counters->*counter).load(std::memory_order_acquire) < count) return false;
  }
  return true;
}

void ShmRun::Publish(std::atomic<uint64_t> ShmCounters::*counter, uint64_t count) {
  (group_->own().counters->*counter).store(count, std::memory_order_release);
}

void ShmRun::WakeOthers() {
  for (int member = 0; member < group_->size(); ++member) {
    if (member != group_->index) group_->members[static_cast<size_t>(member)].doorbell->Ring();
  }
}

uint8_t* ShmRun::Staged(int member, int64_t unit) const {
  return group_->members[static_cast<size_t>(member)].staging +
         places_[static_cast<size_t>(unit % kInFlight)].offset;
}

collectives::Range ShmRun::SliceOfUnit(int64_t unit, int member) const {
  return collectives::SliceOf(plan_.BytesOf(unit), group_->size(), member, kCacheLine);
}

}  // namespace rueda::backends
