// ShmRun, second part: what one unit of a bucket does in all schemes but one (shm_sliced.cc).
#include <algorithm>
#include <cstring>
#include <numeric>

#include "backends/shm/shm_run.h"

namespace rueda::backends {
namespace {

constexpr int64_t kCacheLine = 64;

}  // namespace

void ShmRun::PackUnit(int64_t unit) {
  if (!UsesStaging()) return;
  if (plan_.scheme == ShmScheme::kFromRoot && group_->index != bucket_->root) return;
  const CopyWatch watch(group_->copies, CopyWay::kIn, &copied_);
  if (plan_.scheme == ShmScheme::kScatter) return PackPieces(unit);
  if (plan_.scheme == ShmScheme::kSliced) return PackSlices(unit);
  uint8_t* to = Staged(group_->index, unit);
  input_.Next(plan_.BytesOf(unit), [&](const uint8_t* from, size_t bytes) {
    Stage(to, from, static_cast<int64_t>(bytes));
    to += bytes;
    copied_ += static_cast<int64_t>(bytes);
  });
}

void ShmRun::ConsumeUnit(int64_t unit) {
  const CopyWatch watch(group_->copies, CopyWay::kOut, &copied_);
  switch (plan_.scheme) {
    case ShmScheme::kInline:
      return;  // ShmInline's
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
    case ShmScheme::kScatter:
      return ReduceOwnSlice(unit);
    case ShmScheme::kExchange:
      return CopyParts(unit);
  }
}

void ShmRun::FinishUnit(int64_t unit) {
  if (plan_.scheme != ShmScheme::kSliced || !ReceivesSlices()) return;
  const CopyWatch watch(group_->copies, CopyWay::kOut, &copied_);
  CopySlices(unit);
}

void ShmRun::ReduceAlone() {
  // One rank's inputs and outputs are the same tensors in the same order.
  const size_t element = SizeOf(bucket_->dtype);
  for (size_t i = 0; i < buffers_->inputs.size(); ++i) {
    const void* source = buffers_->inputs[i].data;
    void* destination = buffers_->outputs[i].data;
    device::Reduce(spec_, {&source, 1}, {&destination, 1},
                   static_cast<int64_t>(buffers_->inputs[i].bytes() / element));
  }
}

void ShmRun::ReduceInPlace(int64_t unit) {
  const collectives::Range slice = SliceOfUnit(unit, present_index_);
  const int64_t start = unit * plan_.unit_bytes + slice.begin;
  sources_.clear();
  destinations_.clear();
  for (size_t i = 0; i < group_->members.size(); ++i) {
    uint8_t* at = group_->members[i].arena + bucket_->placements[i] + start;
    sources_.push_back(at);
    destinations_.push_back(at);
  }
  const auto element = static_cast<int64_t>(SizeOf(bucket_->dtype));
  device::Reduce(spec_, sources_, destinations_, slice.size() / element);
}

// Its own contribution it reads where it is.
void ShmRun::ReduceAll(int64_t unit) {
  const auto element = static_cast<int64_t>(SizeOf(bucket_->dtype));
  int64_t offset = 0;
  const auto reduce = [&](const uint8_t* from, uint8_t* to, int64_t bytes) {
    PointAtStaged(unit, offset, from);
    void* destination = to;
    device::Reduce(spec_, sources_, {&destination, 1}, bytes / element);
    offset += bytes;
  };
  collectives::NextOfBoth(&consumed_input_, &output_, plan_.BytesOf(unit), reduce);
}

void ShmRun::CopyContributions(int64_t unit) {
  const auto element = static_cast<int64_t>(SizeOf(bucket_->dtype));
  auto* to = static_cast<uint8_t*>(buffers_->outputs.front().data);
  const int64_t start = unit * plan_.unit_bytes;
  for (int member = 0; member < group_->size(); ++member) {
    const int64_t contributed = bucket_->counts[static_cast<size_t>(member)] * element;
    const int64_t bytes = std::min(contributed - start, plan_.unit_bytes);
    if (bytes > 0) {
      std::memcpy(to + start, Staged(member, unit), static_cast<size_t>(bytes));
      copied_ += bytes;
    }
    to += contributed;
  }
}

void ShmRun::CopyFromRoot(int64_t unit) {
  const uint8_t* from = Staged(bucket_->root, unit);
  output_.Next(plan_.BytesOf(unit), [&](uint8_t* to, size_t bytes) {
    // The root's output may be its input, which has been packed already.
    std::memcpy(to, from, bytes);
    from += bytes;
    copied_ += static_cast<int64_t>(bytes);
  });
}

// What goes into the unit for each slice, one after another, so that all owners have work at once.
void ShmRun::PackPieces(int64_t unit) {
  const auto* input = static_cast<const uint8_t*>(buffers_->inputs.front().data);
  const auto element = static_cast<int64_t>(SizeOf(bucket_->dtype));
  const int64_t start = unit * plan_.unit_bytes;
  uint8_t* to = Staged(group_->index, unit);
  for (const int64_t count : bucket_->counts) {
    const int64_t bytes = std::min(count * element - start, plan_.unit_bytes);
    if (bytes > 0) {
      Stage(to, input + start, bytes);
      copied_ += bytes;
    }
    input += count * element;
    to += plan_.unit_bytes;
  }
}

void ShmRun::ReduceOwnSlice(int64_t unit) {
  const auto element = static_cast<int64_t>(SizeOf(bucket_->dtype));
  const int64_t start = unit * plan_.unit_bytes;
  const int64_t own = bucket_->counts[static_cast<size_t>(group_->index)] * element;
  const int64_t bytes = std::min(own - start, plan_.unit_bytes);
  if (bytes <= 0) return;
  PointAtStaged(unit, group_->index * plan_.unit_bytes);
  void* destination = static_cast<uint8_t*>(buffers_->outputs.front().data) + start;
  device::Reduce(spec_, sources_, {&destination, 1}, bytes / element);
}

// Where each member's part for this rank begins, in its contribution and in the output.
void ShmRun::PrepareExchange() {
  const auto element = static_cast<int64_t>(SizeOf(bucket_->dtype));
  const auto members = static_cast<size_t>(group_->size());
  const auto own = static_cast<size_t>(group_->index);
  part_begins_.assign(members, 0);
  part_offsets_.assign(members + 1, 0);
  for (size_t from = 0; from < members; ++from) {
    const int64_t* row = &bucket_->counts[from * members];
    part_begins_[from] = std::accumulate(row, row + own, int64_t{0}) * element;
    part_offsets_[from + 1] = part_offsets_[from] + row[own] * element;
  }
}

void ShmRun::CopyParts(int64_t unit) {
  const int64_t start = unit * plan_.unit_bytes;
  const int64_t end = start + plan_.unit_bytes;
  for (const int member : present_) {
    const auto from = static_cast<size_t>(member);
    const int64_t begins = part_begins_[from];
    const int64_t ends = begins + part_offsets_[from + 1] - part_offsets_[from];
    const int64_t first = std::max(begins, start);
    const int64_t bytes = std::min(ends, end) - first;
    if (bytes <= 0) continue;
    auto* output = static_cast<uint8_t*>(buffers_->outputs.front().data);
    std::memcpy(output + part_offsets_[from] + (first - begins),
                Staged(member, unit) + (first - start), static_cast<size_t>(bytes));
    copied_ += bytes;
  }
}

// A sum keeps its shape, the canonical tree over all ranks, with zeros where somebody is absent;
// for the other operations the order makes no difference that matters, and scaling one's identity
// would.
void ShmRun::PointAtStaged(int64_t unit, int64_t offset, const uint8_t* own) {
  const bool adds = bucket_->op == ReduceOp::kSum || bucket_->op == ReduceOp::kAverage;
  sources_.clear();
  for (int member = 0; member < group_->size(); ++member) {
    if (own != nullptr && member == group_->index) {
      sources_.push_back(own);
    } else if (bucket_->absent.empty() || !bucket_->IsAbsent(member)) {
      sources_.push_back(Staged(member, unit) + offset);
    } else if (adds) {
      sources_.push_back(zeros_.data());
    }
  }
}

collectives::Range ShmRun::SliceOfUnit(int64_t unit, int owner) const {
  return collectives::SliceOf(plan_.BytesOf(unit), static_cast<int>(present_.size()), owner,
                              kCacheLine);
}

}  // namespace rueda::backends
