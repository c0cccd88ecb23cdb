#include "backends/gloo/plugin/bucket_check.h"

#include <algorithm>
#include <string>

namespace rueda::backends {
namespace {

Status Refuse(const std::string& why) {
  return {StatusCode::kUnsupported, "the gloo backend " + why};
}

bool IsKnown(OpKind kind) {
  switch (kind) {
    case OpKind::kAllreduce:
    case OpKind::kAllgather:
    case OpKind::kBroadcast:
    case OpKind::kBarrier:
    case OpKind::kReducescatter:
    case OpKind::kAlltoall:
    case OpKind::kReduce:
      return true;
    default:
      return false;
  }
}

Status CheckKind(const Bucket& bucket) {
  if (!IsKnown(bucket.kind)) {
    return Refuse("does not run operation " + std::to_string(static_cast<int>(bucket.kind)) + " (" +
                  std::string(NameOf(bucket.kind)) + ") as such");
  }
  if (bucket.kind == OpKind::kBarrier) return Status::Ok();
  if (!IsValid(bucket.dtype)) {
    return Refuse("does not know element type " + std::to_string(static_cast<int>(bucket.dtype)));
  }
  if (!Reduces(bucket.kind)) return Status::Ok();
  if (!IsReducible(bucket.dtype)) {
    return Refuse("moves " + std::string(NameOf(bucket.dtype)) + " but does not add it, as " +
                  std::string(NameOf(bucket.kind)) + " asks");
  }
  if (!IsValid(bucket.op)) {
    return Refuse("does not know reduction " + std::to_string(static_cast<int>(bucket.op)));
  }
  return Status::Ok();
}

size_t CountsOf(OpKind kind, size_t size) {
  switch (kind) {
    case OpKind::kAllgather:
    case OpKind::kReducescatter:
      return size;
    case OpKind::kAlltoall:
      return size * size;
    default:
      return 1;
  }
}

Status CheckCounts(const Bucket& bucket, int size) {
  if (bucket.kind == OpKind::kBarrier) return Status::Ok();
  const size_t counts = CountsOf(bucket.kind, static_cast<size_t>(size));
  const bool negative = std::any_of(bucket.counts.begin(), bucket.counts.end(),
                                    [](int64_t count) { return count < 0; });
  if (bucket.counts.size() == counts && !negative) return Status::Ok();
  return Refuse("needs " + std::to_string(counts) + " element counts for " +
                std::string(NameOf(bucket.kind)) + ", none below 0; it was given " +
                std::to_string(bucket.counts.size()));
}

Status CheckRoot(const Bucket& bucket, int size) {
  if (bucket.kind != OpKind::kBroadcast && bucket.kind != OpKind::kReduce) return Status::Ok();
  if (bucket.root >= 0 && bucket.root < size && !bucket.IsAbsent(bucket.root)) return Status::Ok();
  return Refuse("needs a root that takes part: member " + std::to_string(bucket.root) +
                " is not one of the " + std::to_string(size) + " members, or has joined");
}

// What an absent member sends or receives in a collective that lets each say how much.
int64_t ElementsOf(const Bucket& bucket, int size, int member) {
  const auto at = [&](int index) { return bucket.counts[static_cast<size_t>(index)]; };
  if (bucket.kind == OpKind::kAllgather) return at(member);
  if (bucket.kind != OpKind::kAlltoall) return 0;
  int64_t elements = 0;
  for (int other = 0; other < size; ++other) {
    elements += at(member * size + other) + at(other * size + member);
  }
  return elements;
}

Status CheckAbsent(const Bucket& bucket, int size) {
  const std::vector<int>& absent = bucket.absent;
  const bool ascending = std::adjacent_find(absent.begin(), absent.end(),
                                            [](int a, int b) { return a >= b; }) == absent.end();
  const bool members = absent.empty() || (absent.front() >= 0 && absent.back() < size);
  if (!ascending || !members || static_cast<int>(absent.size()) >= size) {
    return Refuse("needs absent members in ascending order, each one of the " +
                  std::to_string(size) + ", and one member that is not absent");
  }
  for (const int member : absent) {
    if (ElementsOf(bucket, size, member) == 0) continue;
    return Refuse("takes no elements from or for member " + std::to_string(member) +
                  ", which has joined, in " + std::string(NameOf(bucket.kind)));
  }
  return Status::Ok();
}

}  // namespace

Status CheckBucket(const Bucket& bucket, int size) {
  RUEDA_RETURN_IF_ERROR(CheckKind(bucket));
  RUEDA_RETURN_IF_ERROR(CheckCounts(bucket, size));
  RUEDA_RETURN_IF_ERROR(CheckAbsent(bucket, size));
  return CheckRoot(bucket, size);
}

}  // namespace rueda::backends
