#include "backends/shm/shm_inline.h"

#include <cstring>

#include "device/reduce.h"

namespace rueda::backends {

ShmInline::ShmInline(const ShmGroup* group) : group_(group), sources_(group->members.size()) {}

void ShmInline::Reset(const Bucket& bucket, const BucketBuffers& buffers) {
  bucket_ = &bucket;
  buffers_ = &buffers;
  packed_ = false;
  ++number_;
}

// This member may still read another's cell of the bucket before this one, but not of the one
// before that: it has shown its own cell of the bucket before, and so had been through. So two
// cells suffice, and nobody waits to write.
Result<Progress> ShmInline::Step() {
  const bool packs = !packed_;
  if (packs) Pack();
  for (const ShmMember& member : group_->members) {
    if (!HasCell(member)) return packs ? Progress::kMoved : Progress::kWaiting;
  }
  if (!buffers_->outputs.empty()) Reduce();
  return Progress::kDone;
}

void ShmInline::Pack() {
  ShmCell& cell = CellOf(group_->own());
  uint8_t* to = cell.payload.data();
  for (const TensorView& piece : buffers_->inputs) {
    if (piece.count == 0) continue;  // it may have no memory
    std::memcpy(to, piece.data, piece.bytes());
    to += piece.bytes();
  }
  cell.number.store(number_, std::memory_order_release);
  packed_ = true;
  group_->RingOthers();
}

// Whole vectors, so that nothing has to be padded: what lies in the cells after the contributions
// is added up, too, and goes nowhere.
void ShmInline::Reduce() {
  for (size_t i = 0; i < sources_.size(); ++i) {
    sources_[i] = CellOf(group_->members[i]).payload.data();
  }
  alignas(64) decltype(ShmCell::payload) sums;
  void* const to = sums.data();
  const device::ReduceSpec spec{bucket_->dtype, bucket_->op, bucket_->divisor, bucket_->prescale,
                                bucket_->postscale};
  const auto elements = static_cast<int64_t>(sums.size() / SizeOf(bucket_->dtype));
  device::Reduce(spec, sources_, {&to, 1}, elements);
  const uint8_t* from = sums.data();
  for (const TensorView& piece : buffers_->outputs) {
    if (piece.count == 0) continue;
    std::memcpy(piece.data, from, piece.bytes());
    from += piece.bytes();
  }
}

std::vector<int> ShmInline::WaitsFor() const {
  std::vector<int> behind;
  for (size_t i = 0; i < group_->members.size(); ++i) {
    if (!HasCell(group_->members[i])) behind.push_back(static_cast<int>(i));
  }
  return behind;
}

bool ShmInline::HasCell(const ShmMember& member) const {
  return CellOf(member).number.load(std::memory_order_acquire) == number_;
}

}  // namespace rueda::backends
