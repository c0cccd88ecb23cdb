// The gloo backend: the backend contract through its plug-in, and how it fails.
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "backend_contract.h"
#include "backends/gloo/make_gloo.h"
#include "socket_mesh.h"

namespace rueda::testing {
namespace {

BackendWorld GlooWorld(int size, Duration run_timeout = std::chrono::minutes(1)) {
  BackendWorld world;
  auto bells = std::make_shared<std::vector<Bell>>(static_cast<size_t>(size));
  world.drive = [bells](int rank, backends::Run& run, TimePoint deadline) {
    return DriveByBell((*bells)[static_cast<size_t>(rank)], run, deadline);
  };
  std::vector<Channels> mesh = SocketMesh(size);
  for (int rank = 0; rank < size; ++rank) {
    const auto index = static_cast<size_t>(rank);
    Result<std::unique_ptr<backends::Backend>> backend =
        backends::MakeGlooBackend({.topology = TopologyOf(rank, size),
                                   .channels = std::move(mesh[index]),
                                   .wake = [bells, index] { (*bells)[index].Ring(); },
                                   .run_timeout = run_timeout});
    INFO(backend.status().message());
    REQUIRE(backend.ok());
    world.backends.push_back(std::move(*backend));
  }
  return world;
}

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

TEST_CASE("gloo: a lost peer is named and blamed") {
  BackendWorld world = GlooWorld(2);
  std::vector<float> data(300'000, 1.0F);
  const Bucket bucket = SumOf(300'000);
  const TensorView view{data.data(), 300'000, DType::kFloat32};
  const BucketBuffers buffers{{view}, {view}};
  Result<backends::Run*> run = world.backends[0]->Begin(bucket, buffers);
  REQUIRE(run.ok());
  world.backends[1].reset();
  const Status status = world.drive(0, **run, Patience());
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
  const Status status = world.drive(1, **run, Patience());
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
  BackendWorld world = GlooWorld(2);
  const auto code = [&world](const Bucket& bucket) {
    return world.backends[0]->Supports(bucket).code();
  };
  Bucket bucket = SumOf(4);
  CHECK(code(bucket) == StatusCode::kOk);
  bucket.dtype = static_cast<DType>(kDTypeCount);
  CHECK(code(bucket) == StatusCode::kUnsupported);
  bucket = SumOf(4);
  bucket.op = static_cast<ReduceOp>(2);
  CHECK(code(bucket) == StatusCode::kUnsupported);
  bucket = MovingBucket(OpKind::kBroadcast, DType::kUInt8, 2);
  bucket.counts = {1};
  CHECK(code(bucket) == StatusCode::kUnsupported);
  bucket = MovingBucket(OpKind::kAllgather, DType::kUInt8);
  bucket.counts = {1};
  CHECK(code(bucket) == StatusCode::kUnsupported);
}

TEST_CASE("gloo: wrong memory for a bucket is an error, not an overrun") {
  BackendWorld world = GlooWorld(1);
  std::vector<float> data(3);
  const TensorView view{data.data(), 3, DType::kFloat32};
  const Bucket bucket = SumOf(4);
  const BucketBuffers buffers{{view}, {view}};
  Result<backends::Run*> run = world.backends[0]->Begin(bucket, buffers);
  REQUIRE(run.ok());
  CHECK(world.drive(0, **run, Patience()).code() == StatusCode::kInvalidArgument);
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
