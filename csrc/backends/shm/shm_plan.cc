#include "backends/shm/shm_plan.h"

#include <algorithm>

#include "transport/arena_layout.h"

namespace rueda::backends {
namespace {

// Up to here one wait and n-fold reading are faster than two waits and reading once.
constexpr int64_t kSymmetricBytes = int64_t{32} << 10;
// Bytes of an in-place bucket that one step reduces, so that the loop stays responsive.
constexpr int64_t kInPlaceStepBytes = int64_t{1} << 20;

ShmScheme SchemeOf(const Bucket& bucket, int size, int64_t total_bytes) {
  switch (bucket.kind) {
    case OpKind::kBarrier:
      return ShmScheme::kSymmetric;
    case OpKind::kBroadcast:
      return ShmScheme::kFromRoot;
    case OpKind::kAllgather:
      return ShmScheme::kGather;
    case OpKind::kAllreduce:
      break;
  }
  if (size == 1) return ShmScheme::kAlone;
  if (bucket.in_place()) return ShmScheme::kInPlace;
  return total_bytes <= kSymmetricBytes ? ShmScheme::kSymmetric : ShmScheme::kSliced;
}

int64_t UnitBytesOf(ShmScheme scheme, int size, int64_t total_bytes) {
  if (scheme == ShmScheme::kAlone) return std::max<int64_t>(1, total_bytes);
  if (scheme == ShmScheme::kInPlace) return kInPlaceStepBytes * size;
  return transport::kStagingChunkBytes;
}

}  // namespace

int64_t ShmPlan::BytesOf(int64_t unit) const {
  return std::min(unit_bytes, total_bytes - unit * unit_bytes);
}

ShmPlan PlanShm(const Bucket& bucket, int size) {
  ShmPlan plan;
  const auto element = static_cast<int64_t>(SizeOf(bucket.dtype));
  for (int64_t count : bucket.counts)
    plan.total_bytes = std::max(plan.total_bytes, count * element);
  plan.scheme = SchemeOf(bucket, size, plan.total_bytes);
  plan.unit_bytes = UnitBytesOf(plan.scheme, size, plan.total_bytes);
  plan.units = bucket.kind == OpKind::kBarrier
                   ? 1
                   : (plan.total_bytes + plan.unit_bytes - 1) / plan.unit_bytes;
  return plan;
}

}  // namespace rueda::backends
