// ShmRun, third part: a unit of a large private bucket, whose slices the members add up.
#include <algorithm>
#include <cstring>

#include "backends/shm/shm_run.h"
#include "device/copy.h"

namespace rueda::backends {
namespace {

// Smaller copies stay in the caches, whatever was chosen: the write to memory would be waited for.
constexpr int64_t kLeastStreamed = int64_t{1} << 10;
// What is added up, and then copied on, while it is in the first cache.
constexpr int64_t kBlockBytes = int64_t{8} << 10;

}  // namespace

void ShmRun::Stage(uint8_t* to, const uint8_t* from, int64_t bytes) const {
  if (streams_ && bytes >= kLeastStreamed) {
    device::CopyStreaming(to, from, bytes);
  } else {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  }
}

// The slices that others add up. Its own it reads where it is.
void ShmRun::PackSlices(int64_t unit) {
  const collectives::Range own = SliceOfUnit(unit, present_index_);
  uint8_t* to = Staged(group_->index, unit);
  const auto stage = [&](const uint8_t* from, size_t bytes) {
    Stage(to, from, static_cast<int64_t>(bytes));
    to += bytes;
    copied_ += static_cast<int64_t>(bytes);
  };
  input_.Next(own.begin, stage);
  input_.Skip(own.size());
  to += own.size();
  input_.Next(plan_.BytesOf(unit) - own.end, stage);
}

// Of this rank's tensors and the others' staging memory, into this rank's tensors and, for the
// others, the slice's place in its staging memory, which nothing else needs.
void ShmRun::ReduceSlice(int64_t unit) {
  const collectives::Range slice = SliceOfUnit(unit, present_index_);
  const int64_t after = plan_.BytesOf(unit) - slice.end;
  int64_t offset = slice.begin;
  const auto reduce = [&](const uint8_t* from, uint8_t* to, int64_t bytes) {
    ReduceSlicePart(unit, offset, from, to, bytes);
    offset += bytes;
  };
  consumed_input_.Skip(slice.begin);
  consumed_output_.Skip(slice.begin);
  if (ReceivesSlices()) {
    collectives::NextOfBoth(&consumed_input_, &consumed_output_, slice.size(), reduce);
  } else {
    consumed_input_.Next(slice.size(), [&](const uint8_t* from, size_t bytes) {
      reduce(from, nullptr, static_cast<int64_t>(bytes));
    });
  }
  consumed_input_.Skip(after);
  consumed_output_.Skip(after);
}

void ShmRun::ReduceSlicePart(int64_t unit, int64_t offset, const uint8_t* from, uint8_t* to,
                             int64_t bytes) {
  const auto element = static_cast<int64_t>(SizeOf(bucket_->dtype));
  uint8_t* staged = Staged(group_->index, unit) + offset;
  if (to == nullptr || !streams_ || bytes < kLeastStreamed) {
    PointAtStaged(unit, offset, from);
    destinations_ = {to != nullptr ? to : staged, staged};
    if (to == nullptr) destinations_.pop_back();
    device::Reduce(spec_, sources_, destinations_, bytes / element);
    return;
  }
  for (int64_t at = 0; at < bytes; at += kBlockBytes) {
    const int64_t block = std::min(kBlockBytes, bytes - at);
    PointAtStaged(unit, offset + at, from + at);
    void* destination = to + at;
    device::Reduce(spec_, sources_, {&destination, 1}, block / element);
    Stage(staged + at, to + at, block);
  }
}

// Those that others added up.
void ShmRun::CopySlices(int64_t unit) {
  for (size_t owner = 0; owner < present_.size(); ++owner) {
    const collectives::Range slice = SliceOfUnit(unit, static_cast<int>(owner));
    if (present_[owner] == group_->index) {
      output_.Skip(slice.size());
      continue;
    }
    const uint8_t* from = Staged(present_[owner], unit) + slice.begin;
    output_.Next(slice.size(), [&](uint8_t* to, size_t bytes) {
      std::memcpy(to, from, bytes);
      from += bytes;
      copied_ += static_cast<int64_t>(bytes);
    });
  }
}

}  // namespace rueda::backends
