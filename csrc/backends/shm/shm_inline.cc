// ShmRun, fourth part: a bucket that fits into one cache line a member.
#include <cstring>

#include "backends/shm/shm_run.h"

namespace rueda::backends {

// This member may still read another's cell of the bucket before this one, but not of the one
// before that: it has shown its own cell of the bucket before, and so had been through. So two
// cells suffice, and nobody waits to write.
Progress ShmRun::StepInline() {
  const bool packs = packed_ == 0;
  if (packs) PackCell();
  for (const int member : present_) {
    if (!HasCell(member)) return packs ? Progress::kMoved : Progress::kWaiting;
  }
  if (!buffers_->outputs.empty() && plan_.total_bytes > 0) ReduceCells();
  return Progress::kDone;
}

// Whole vectors, so that nothing has to be padded: what lies in the cells after the contributions
// is added up, too, and goes nowhere.
void ShmRun::ReduceCells() {
  sources_.clear();
  for (const int member : present_) sources_.push_back(CellOf(member).payload.data());
  alignas(64) decltype(ShmCell::payload) sums;
  void* const to = sums.data();
  const auto elements = static_cast<int64_t>(sums.size() / SizeOf(bucket_->dtype));
  device::Reduce(spec_, sources_, {&to, 1}, elements);
  const uint8_t* from = sums.data();
  output_.Next(plan_.total_bytes, [&](uint8_t* output, size_t bytes) {
    std::memcpy(output, from, bytes);
    from += bytes;
  });
}

void ShmRun::PackCell() {
  ShmCell& cell = CellOf(group_->index);
  uint8_t* to = cell.payload.data();
  input_.Next(plan_.total_bytes, [&](const uint8_t* from, size_t bytes) {
    std::memcpy(to, from, bytes);
    to += bytes;
  });
  cell.number.store(inlined_, std::memory_order_release);
  packed_ = 1;
  WakeOthers();
}

ShmCell& ShmRun::CellOf(int member) const {
  return group_->members[static_cast<size_t>(member)].counters->cells[inlined_ % 2];
}

bool ShmRun::HasCell(int member) const {
  return CellOf(member).number.load(std::memory_order_acquire) == inlined_;
}

}  // namespace rueda::backends
