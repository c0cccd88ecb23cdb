// PlanShm: which scheme a bucket takes, and units that cover it in whole elements.
#include "backends/shm/shm_plan.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <vector>

#include "transport/arena_layout.h"

namespace rueda::backends {
namespace {

Bucket BucketOf(OpKind kind, DType dtype, std::vector<int64_t> counts, bool in_place = false) {
  Bucket bucket;
  bucket.kind = kind;
  bucket.dtype = dtype;
  bucket.counts = std::move(counts);
  if (kind == OpKind::kBroadcast) bucket.root = 0;
  if (in_place) bucket.placements = {0, 0};
  return bucket;
}

constexpr int64_t kStagingBytes = transport::kStagingSlots * transport::kStagingChunkBytes;

ShmPlan PlanOf(const Bucket& bucket, int size) { return PlanShm(bucket, size, kStagingBytes); }

TEST_CASE("units cover a bucket exactly, in whole elements that staging can hold", "[shm_plan]") {
  const int size = GENERATE(1, 2, 3, 8);
  const auto kind =
      GENERATE(OpKind::kAllreduce, OpKind::kAllgather, OpKind::kBroadcast, OpKind::kReduce);
  const bool in_place = GENERATE(false, true);
  const int dtype = GENERATE(range(0, kDTypeCount));
  if (in_place && kind != OpKind::kAllreduce) return;
  const auto element = static_cast<int64_t>(SizeOf(static_cast<DType>(dtype)));
  for (const int64_t count : {0, 1, 2, 8'191, 32'768, 32'769, 524'288, 524'289, 5'000'011}) {
    CAPTURE(size, static_cast<int>(kind), in_place, dtype, count);
    const ShmPlan plan = PlanOf(BucketOf(kind, static_cast<DType>(dtype), {count}, in_place), size);
    REQUIRE(plan.total_bytes == count * element);
    REQUIRE((plan.units == 0) == (count == 0));
    int64_t covered = 0;
    for (int64_t unit = 0; unit < plan.units; ++unit) {
      const int64_t bytes = plan.BytesOf(unit);
      REQUIRE(bytes > 0);
      REQUIRE(bytes % element == 0);
      REQUIRE((bytes == plan.unit_bytes || unit + 1 == plan.units));
      const bool staged = plan.scheme != ShmScheme::kAlone && plan.scheme != ShmScheme::kInline &&
                          plan.scheme != ShmScheme::kInPlace;
      if (staged) REQUIRE(bytes <= transport::kStagingChunkBytes);
      covered += bytes;
    }
    REQUIRE(covered == plan.total_bytes);
  }
}

TEST_CASE("small private buckets take one wait, large ones two", "[shm_plan]") {
  const auto scheme = [](int64_t count, int size) {
    return PlanOf(BucketOf(OpKind::kAllreduce, DType::kUInt8, {count}), size).scheme;
  };
  CHECK(scheme(1, 2) == ShmScheme::kInline);
  CHECK(scheme(48, 2) == ShmScheme::kInline);
  CHECK(scheme(49, 2) == ShmScheme::kSymmetric);
  CHECK(scheme(32 << 10, 2) == ShmScheme::kSymmetric);
  CHECK(scheme((32 << 10) + 1, 2) == ShmScheme::kSliced);
  CHECK(scheme(1 << 20, 1) == ShmScheme::kAlone);
}

TEST_CASE("placed buckets are reduced where they lie, of any size", "[shm_plan]") {
  for (const int64_t count : {0, 1, 100, 10'000'000}) {
    const Bucket placed = BucketOf(OpKind::kAllreduce, DType::kFloat32, {count}, true);
    CHECK(PlanOf(placed, 2).scheme == ShmScheme::kInPlace);
    CHECK(PlanOf(placed, 1).scheme == ShmScheme::kAlone);
  }
}

TEST_CASE("the other operations have one scheme each, however many ranks", "[shm_plan]") {
  for (const int size : {1, 2, 5}) {
    const auto scheme = [&](OpKind kind) {
      return PlanOf(BucketOf(kind, DType::kFloat32, {1'000'000}), size).scheme;
    };
    CHECK(scheme(OpKind::kAllgather) == ShmScheme::kGather);
    CHECK(scheme(OpKind::kBroadcast) == ShmScheme::kFromRoot);
    CHECK(scheme(OpKind::kReducescatter) == (size == 1 ? ShmScheme::kAlone : ShmScheme::kScatter));
    CHECK(scheme(OpKind::kBarrier) == ShmScheme::kInline);
  }
}

TEST_CASE("a tiny bucket without somebody goes through staging memory", "[shm_plan]") {
  for (const OpKind kind : {OpKind::kAllreduce, OpKind::kReduce, OpKind::kBarrier}) {
    Bucket bucket = BucketOf(kind, DType::kFloat32, {kind == OpKind::kBarrier ? 0 : 1});
    CHECK(PlanOf(bucket, 3).scheme == ShmScheme::kInline);
    bucket.absent = {1};
    CHECK(PlanOf(bucket, 3).scheme == ShmScheme::kSymmetric);
  }
}

TEST_CASE("an allgather is as long as its longest part, wherever that is", "[shm_plan]") {
  std::vector<int64_t> counts{5, 0, 400'000, 7};
  std::sort(counts.begin(), counts.end());
  do {
    const ShmPlan plan = PlanOf(BucketOf(OpKind::kAllgather, DType::kFloat32, counts), 4);
    CHECK(plan.total_bytes == 1'600'000);
    CHECK(plan.units ==
          (1'600'000 + transport::kStagingChunkBytes - 1) / transport::kStagingChunkBytes);
  } while (std::next_permutation(counts.begin(), counts.end()));
}

TEST_CASE("an exchange is as long as the longest row", "[shm_plan]") {
  const ShmPlan plan = PlanOf(
      BucketOf(OpKind::kAlltoall, DType::kFloat32, {1, 2, 3, 0, 100'000, 50'000, 7, 7, 7}), 3);
  CHECK(plan.scheme == ShmScheme::kExchange);
  CHECK(plan.total_bytes == 600'000);
  CHECK(plan.units ==
        (600'000 + transport::kStagingChunkBytes - 1) / transport::kStagingChunkBytes);
}

TEST_CASE("a unit holds a piece of every member's slice of a reducescatter", "[shm_plan]") {
  const int size = GENERATE(2, 3, 5, 64);
  std::vector<int64_t> counts(static_cast<size_t>(size), 300'000);
  counts.front() = 300'001;
  const ShmPlan plan = PlanOf(BucketOf(OpKind::kReducescatter, DType::kFloat64, counts), size);
  CHECK(plan.total_bytes == 300'001 * 8);
  CHECK(plan.unit_bytes % 64 == 0);
  CHECK(plan.unit_bytes * size <= transport::kStagingChunkBytes);
  CHECK(plan.unit_bytes * plan.units >= plan.total_bytes);
}

TEST_CASE("no unit takes more than half of little staging memory", "[shm_plan]") {
  const Bucket bucket = BucketOf(OpKind::kBroadcast, DType::kFloat64, {1'000'000});
  const ShmPlan plan = PlanShm(bucket, 2, transport::kPairStagingBytes);
  CHECK(plan.unit_bytes == transport::kPairStagingBytes / 2);
}

TEST_CASE("a barrier is one unit without bytes", "[shm_plan]") {
  for (const std::vector<int64_t>& counts : {std::vector<int64_t>{}, std::vector<int64_t>{0}}) {
    const ShmPlan plan = PlanOf(BucketOf(OpKind::kBarrier, DType::kUInt8, counts), 3);
    CHECK(plan.units == 1);
    CHECK(plan.BytesOf(0) == 0);
  }
}

}  // namespace
}  // namespace rueda::backends
