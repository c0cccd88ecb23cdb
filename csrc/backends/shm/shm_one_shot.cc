#include "backends/shm/shm_one_shot.h"

#include <algorithm>
#include <cstring>

#include "collectives/piece_cursor.h"
#include "device/reduce.h"
#include "transport/arena_layout.h"

namespace rueda::backends {

static_assert(sizeof(OneShotMemory) <= transport::kOneShotSpan);

ShmOneShot::ShmOneShot(const ShmGroup* group, int64_t most_bytes)
    : group_(group),
      most_bytes_(std::min(most_bytes, kMostOneShotBytes)),
      own_(static_cast<size_t>(group->index)),
      sources_(group->members.size()) {}

uint8_t* ShmOneShot::PayloadIn(OneShotMemory& memory, uint64_t agreed, int64_t bytes) {
  return bytes <= kInlineBytes ? memory.cells[agreed % 2].payload.data()
                               : memory.payloads[agreed % 2].data();
}

void ShmOneShot::Come(uint64_t wish, const BucketBuffers& buffers) {
  int64_t bytes = 0;
  for (const TensorView& piece : buffers.inputs) bytes += static_cast<int64_t>(piece.bytes());
  uint8_t* to = PayloadIn(MemoryOf(own_), agreed_, bytes);
  collectives::PieceCursor(buffers.inputs).Next(bytes, [&](const uint8_t* from, size_t part) {
    std::memcpy(to, from, part);
    to += part;
  });
  OneShotCell& cell = CellOf(own_);
  cell.wish.store(wish, std::memory_order_relaxed);
  // Release: what this rank shows was written before; pairs with HasCome.
  cell.meeting.store(meeting_, std::memory_order_release);
  came_ = true;
  // Who waits in rueda for something else may have to call the meeting off.
  for (size_t member = 0; member < group_->members.size(); ++member) {
    if (!HasCome(member)) group_->members[member].doorbell->RingCaller();
  }
}

ShmOneShot::Verdict ShmOneShot::Read() const {
  const uint64_t word = shared().verdict.load(std::memory_order_acquire);
  return {word / 2, word % 2 == 1};
}

void ShmOneShot::Write(Verdict last, bool agreed) {
  uint64_t expected = 2 * last.meeting + (last.odd ? 1 : 0);
  const uint64_t next = 2 * (last.meeting + 1) + (last.odd != agreed ? 1 : 0);
  // Who reads the verdict may read all that this rank has seen.
  if (shared().verdict.compare_exchange_strong(expected, next, std::memory_order_acq_rel)) {
    group_->RingOthers();
  }
}

OneShot::Sight ShmOneShot::Look() {
  if (!came_) return LookFromOutside();
  const Verdict last = Read();
  if (last.meeting >= meeting_) return Conclude(last);
  bool agreed = false;
  if (!CanTell(&agreed)) return Sight::kWaits;
  Write(last, agreed);
  return Conclude(Read());
}

OneShot::Sight ShmOneShot::LookFromOutside() {
  if (shared().is_over.load(std::memory_order_acquire) != 0) return Sight::kOver;
  meeting_ = Read().meeting + 1;
  for (size_t member = 0; member < group_->members.size(); ++member) {
    if (member != own_ && HasCome(member)) return Sight::kOthers;
  }
  return Sight::kNobody;
}

bool ShmOneShot::CanTell(bool* agreed) const {
  // First: what was shown before the end still counts.
  const bool is_over = shared().is_over.load(std::memory_order_acquire) != 0;
  const uint64_t wish = CellOf(own_).wish.load(std::memory_order_relaxed);
  *agreed = true;
  for (size_t member = 0; member < group_->members.size(); ++member) {
    if (!HasCome(member)) {
      *agreed = false;
      return is_over;
    }
    *agreed &= CellOf(member).wish.load(std::memory_order_relaxed) == wish;
  }
  return true;
}

OneShot::Sight ShmOneShot::Conclude(Verdict verdict) {
  const bool agreed = verdict.odd != (agreed_ % 2 == 1);
  came_ = false;
  meeting_ = verdict.meeting + 1;
  if (agreed) ++agreed_;
  return agreed ? Sight::kAgreed : Sight::kApart;
}

void ShmOneShot::Reduce(const Bucket& bucket, const BucketBuffers& buffers) {
  const auto element = static_cast<int64_t>(SizeOf(bucket.dtype));
  const int64_t bytes = bucket.counts.front() * element;
  const device::ReduceSpec spec{bucket.dtype, bucket.op, bucket.divisor, bucket.prescale,
                                bucket.postscale};
  for (size_t member = 0; member < sources_.size(); ++member) {
    sources_[member] = PayloadIn(MemoryOf(member), agreed_ - 1, bytes);
  }
  collectives::PieceCursor(buffers.outputs).Next(bytes, [&](uint8_t* to, size_t part) {
    void* const destination = to;
    device::Reduce(spec, sources_, {&destination, 1}, static_cast<int64_t>(part) / element);
    for (const void*& source : sources_) source = static_cast<const uint8_t*>(source) + part;
  });
}

void ShmOneShot::CallOff() {
  const Verdict last = Read();
  if (last.meeting + 1 == meeting_) Write(last, false);
}

void ShmOneShot::End() {
  shared().is_over.store(1, std::memory_order_release);
  group_->RingOthers();
}

}  // namespace rueda::backends
