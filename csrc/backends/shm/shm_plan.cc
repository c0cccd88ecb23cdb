#include "backends/shm/shm_plan.h"

#include <algorithm>
#include <numeric>

#include "backends/shm/shm_group.h"
#include "transport/arena_layout.h"

namespace rueda::backends {
namespace {

// Up to here one wait and n-fold reading are faster than two waits and reading once.
constexpr int64_t kSymmetricBytes = int64_t{32} << 10;
// Bytes of an in-place bucket that one step reduces, so that the loop stays responsive.
constexpr int64_t kInPlaceStepBytes = int64_t{1} << 20;
constexpr int64_t kCacheLine = 64;

// A cell may be written again because every other member has shown the next one since: so all of
// them take part.
ShmScheme SchemeOfSmall(const Bucket& bucket) {
  return bucket.absent.empty() ? ShmScheme::kInline : ShmScheme::kSymmetric;
}

ShmScheme SchemeOf(const Bucket& bucket, int size, int64_t total_bytes) {
  switch (bucket.kind) {
    case OpKind::kBarrier:
      return SchemeOfSmall(bucket);
    case OpKind::kBroadcast:
      return ShmScheme::kFromRoot;
    case OpKind::kAllgather:
      return ShmScheme::kGather;
    case OpKind::kReducescatter:
      return size == 1 ? ShmScheme::kAlone : ShmScheme::kScatter;
    case OpKind::kAlltoall:
      return ShmScheme::kExchange;
    default:
      break;  // allreduce and reduce
  }
  if (size == 1) return ShmScheme::kAlone;
  if (bucket.in_place()) return ShmScheme::kInPlace;
  if (total_bytes > 0 && total_bytes <= kInlineBytes) return SchemeOfSmall(bucket);
  return total_bytes <= kSymmetricBytes ? ShmScheme::kSymmetric : ShmScheme::kSliced;
}

// A chunk is a multiple of every element's size, and so is its part for each member.
int64_t UnitBytesOf(ShmScheme scheme, int size, int64_t total_bytes, int64_t staging_bytes) {
  const int64_t chunk = std::min(transport::kStagingChunkBytes, staging_bytes / 2);
  switch (scheme) {
    case ShmScheme::kAlone:
      return std::max<int64_t>(1, total_bytes);
    case ShmScheme::kInline:
      return kInlineBytes;
    case ShmScheme::kInPlace:
      return kInPlaceStepBytes * size;
    case ShmScheme::kScatter:
      return chunk / size / kCacheLine * kCacheLine;
    default:
      return chunk;
  }
}

// Of the longest contribution; for kScatter of the longest slice.
int64_t TotalBytesOf(const Bucket& bucket, int size) {
  int64_t most = 0;
  if (bucket.kind == OpKind::kAlltoall) {
    for (auto row = bucket.counts.begin(); row != bucket.counts.end(); row += size) {
      most = std::max(most, std::accumulate(row, row + size, int64_t{0}));
    }
  } else {
    for (const int64_t count : bucket.counts) most = std::max(most, count);
  }
  return most * static_cast<int64_t>(SizeOf(bucket.dtype));
}

}  // namespace

int64_t ShmPlan::BytesOf(int64_t unit) const {
  return std::min(unit_bytes, total_bytes - unit * unit_bytes);
}

ShmPlan PlanShm(const Bucket& bucket, int size, int64_t staging_bytes) {
  ShmPlan plan;
  plan.total_bytes = TotalBytesOf(bucket, size);
  plan.scheme = SchemeOf(bucket, size, plan.total_bytes);
  plan.unit_bytes = UnitBytesOf(plan.scheme, size, plan.total_bytes, staging_bytes);
  plan.units = bucket.kind == OpKind::kBarrier
                   ? 1
                   : (plan.total_bytes + plan.unit_bytes - 1) / plan.unit_bytes;
  return plan;
}

}  // namespace rueda::backends
