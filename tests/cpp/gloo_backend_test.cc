// The gloo backend: the backend contract through its plug-in, and how it fails.
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "backend_contract.h"
#include "backends/gloo/make_gloo.h"
#include "gloo_world.h"
#include "socket_mesh.h"
#include "status_text.h"

namespace rueda::testing {
namespace {

BackendFixture GlooFixture() {
  return {.make = [](int size) { return GlooWorld(size); }, .canonical = false};
}

Bucket SumOf(int64_t count) {
  Bucket bucket = AllreduceBucket(DType::kFloat32, ReduceOp::kSum, 1);
  bucket.counts = {count};
  return bucket;
}

}  // namespace

RUEDA_BACKEND_CONTRACT("gloo", GlooFixture())

TEST_CASE("gloo: reducescatter and reduce add in the canonical order, bit for bit") {
  const int size = GENERATE(2, 3, 4);
  BackendWorld world = GlooWorld(size);
  std::mt19937_64 random(61);
  std::vector<BackendCase> cases;
  for (int i = 0; i < 60; ++i) {
    const OpKind kind = i % 2 == 0 ? OpKind::kReduce : OpKind::kReducescatter;
    const DType dtype = i % 3 == 0 ? DType::kBFloat16 : DType::kFloat32;
    const int root = static_cast<int>(RandomCount(random, size));
    Bucket bucket = ReducingBucket(kind, dtype, ReduceOp::kAverage, size, root);
    bucket.absent = RandomAbsent(random, size, root, 4);
    cases.emplace_back(bucket, RandomCounts(random, bucket, size, 100'000), Memory::kApart, i);
  }
  CHECK(RunCases({nullptr, /*canonical=*/true}, world, cases) == "");
}

TEST_CASE("gloo: a lost peer is named and blamed") {
  BackendWorld world = GlooWorld(2);
  std::vector<float> data(300'000, 1.0F);
  const Bucket bucket = SumOf(300'000);
  const TensorView view{data.data(), 300'000, DType::kFloat32};
  const BucketBuffers buffers{{view}, {view}};
  Result<backends::Run*> run = world.backends[0]->Begin(bucket, buffers);
  REQUIRE(run.ok());
  world.backends[1].reset();
  const Status status = Drive(world, 0, **run, Patience());
  CHECK(status.code() == StatusCode::kPeerLost);
  CHECK(status.blamed_rank() == 1);
  CHECK_THAT(status.message(), Catch::Contains("rank 1 (pid 101 on host1)"));
  CHECK_THAT(status.message(), Catch::Contains("allreduce of 300000 float32"));
  CHECK(world.backends[0]->Begin(bucket, buffers).status() == status);
}

TEST_CASE("gloo: a run that takes too long names the peers it waits for") {
  BackendWorld world = GlooWorld(3, std::chrono::milliseconds(30));
  const Bucket bucket = MovingBucket(OpKind::kBarrier, DType::kUInt8);
  const BucketBuffers nothing;
  Result<backends::Run*> run = world.backends[1]->Begin(bucket, nothing);
  REQUIRE(run.ok());
  const Status status = Drive(world, 1, **run, Patience());
  CHECK(status.code() == StatusCode::kTimedOut);
  CHECK_THAT(status.message(), Catch::Contains("30 ms"));
  CHECK((*run)->WaitsFor() == std::vector<int>{0});
  CHECK_THAT(status.message(), Catch::Contains("rank 0 (pid 100 on host0)"));
}

TEST_CASE("gloo: a backend is destroyed in the middle of a run") {
  BackendWorld world = GlooWorld(2);
  const Bucket bucket = MovingBucket(OpKind::kBarrier, DType::kUInt8);
  const BucketBuffers nothing;
  Result<backends::Run*> run = world.backends[0]->Begin(bucket, nothing);
  REQUIRE(run.ok());
  const TimePoint before = SteadyClock().Now();
  world.backends[0].reset();
  CHECK(SteadyClock().Now() - before < std::chrono::seconds(30));
}

TEST_CASE("gloo: a second bucket may not begin before the first is finished") {
  BackendWorld world = GlooWorld(2);
  const Bucket bucket = MovingBucket(OpKind::kBarrier, DType::kUInt8);
  const BucketBuffers nothing;
  REQUIRE(world.backends[0]->Begin(bucket, nothing).ok());
  CHECK(world.backends[0]->Begin(bucket, nothing).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("gloo: refuses what it cannot do, in words") {
  const BackendWorld world = GlooWorld(3);
  const auto refused = [&world](const Bucket& bucket) {
    const Status status = world.backend(0).Supports(bucket);
    CHECK(status.code() == (status.ok() ? StatusCode::kOk : StatusCode::kUnsupported));
    return status.message();
  };
  const auto with = [](Bucket bucket, std::vector<int64_t> counts, std::vector<int> absent = {}) {
    bucket.counts = std::move(counts);
    bucket.absent = std::move(absent);
    return bucket;
  };
  CHECK(refused(SumOf(4)) == "");
  CHECK(refused(with(SumOf(4), {4}, {0, 2})) == "");
  Bucket bucket = SumOf(4);
  bucket.dtype = static_cast<DType>(kDTypeCount);
  CHECK_THAT(refused(bucket), Catch::Contains("element type 19"));
  bucket = SumOf(4);
  bucket.op = static_cast<ReduceOp>(2);
  CHECK_THAT(refused(bucket), Catch::Contains("reduction 2"));
  for (const OpKind kind : {OpKind::kGather, OpKind::kScatter, OpKind::kJoin,
                            OpKind::kAddProcessSet, static_cast<OpKind>(kOpKindCount)}) {
    const Bucket other = with(MovingBucket(kind, DType::kUInt8, 0), {1});
    CHECK_THAT(refused(other), Catch::Contains("(" + std::string(NameOf(kind)) + ")"));
  }
  for (const int root : {-1, 3}) {
    const Bucket broadcast = with(MovingBucket(OpKind::kBroadcast, DType::kUInt8, root), {1});
    CHECK_THAT(refused(broadcast), Catch::Contains("member " + std::to_string(root)));
  }
  const Bucket reduce = ReducingBucket(OpKind::kReduce, DType::kInt8, ReduceOp::kSum, 3, 1);
  CHECK_THAT(refused(with(reduce, {1}, {1})), Catch::Contains("has joined"));
  const Bucket gather = MovingBucket(OpKind::kAllgather, DType::kUInt8);
  CHECK_THAT(refused(with(gather, {1})), Catch::Contains("3 element counts for allgather"));
  CHECK_THAT(refused(with(gather, {1, -1, 1})), Catch::Contains("none below 0"));
  CHECK_THAT(refused(with(gather, {1, 1, 1}, {2})), Catch::Contains("member 2, which has joined"));
  const Bucket exchange = MovingBucket(OpKind::kAlltoall, DType::kUInt8);
  CHECK_THAT(refused(with(exchange, {1, 1, 1})), Catch::Contains("9 element counts"));
  CHECK_THAT(refused(with(exchange, {0, 0, 0, 0, 0, 1, 0, 0, 0}, {2})),
             Catch::Contains("member 2"));
  for (const std::vector<int>& absent : {std::vector<int>{2, 1}, {1, 1}, {-1}, {3}, {0, 1, 2}}) {
    CHECK_THAT(refused(with(SumOf(4), {4}, absent)), Catch::Contains("ascending order"));
  }
}

TEST_CASE("gloo: wrong memory for a bucket is an error, not an overrun") {
  BackendWorld world = GlooWorld(1);
  std::vector<float> data(3);
  const TensorView view{data.data(), 3, DType::kFloat32};
  const Bucket bucket = SumOf(4);
  const BucketBuffers buffers{{view}, {view}};
  Result<backends::Run*> run = world.backends[0]->Begin(bucket, buffers);
  REQUIRE(run.ok());
  CHECK(Drive(world, 0, **run, Patience()).code() == StatusCode::kInvalidArgument);
}

TEST_CASE("gloo: needs channels that can be polled") {
  backends::GlooParts parts{.topology = TopologyOf(0, 2), .channels = {}, .wake = nullptr};
  const Status status = backends::MakeGlooBackend(std::move(parts)).status();
  CHECK(status.code() == StatusCode::kInvalidArgument);
  CHECK_THAT(status.message(), Catch::Contains("rank 1"));
}

TEST_CASE("gloo: refuses a rank outside the job") {
  backends::GlooParts parts{.topology = TopologyOf(2, 2), .channels = {}, .wake = nullptr};
  CHECK(backends::MakeGlooBackend(std::move(parts)).status().code() ==
        StatusCode::kInvalidArgument);
}

TEST_CASE("gloo plug-in: a missing one is unsupported and says what to install") {
  const Status status = backends::MakeGlooBackendFrom("/nowhere/librueda_gloo.so", {}).status();
  CHECK(status.code() == StatusCode::kUnsupported);
  CHECK_THAT(status.message(), Catch::Contains("/nowhere/librueda_gloo.so"));
  CHECK_THAT(status.message(), Catch::Contains("libgloo-dev"));
}

TEST_CASE("gloo plug-in: one of another version is refused and both versions are named") {
  const Status status = backends::MakeGlooBackendFrom(RUEDA_GLOO_OTHER_VERSION, {}).status();
  CHECK(status.code() == StatusCode::kUnsupported);
  CHECK_THAT(status.message(), Catch::Contains("rueda 0.0.0-other"));
}

}  // namespace rueda::testing
