// Process sets of the gloo backend: what only it does beside the contract of all backends.
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "backend_sets.h"
#include "gloo_world.h"
#include "status_text.h"

namespace rueda::testing {
namespace {

Bucket BarrierOf(uint32_t process_set) {
  Bucket bucket = MovingBucket(OpKind::kBarrier, DType::kUInt8);
  bucket.process_set = process_set;
  return bucket;
}

// Splits on the main thread: nothing of it waits for another rank.
void SplitAll(TestSet& set) {
  for (const int rank : set.members()) REQUIRE(set.Split(rank).ok());
}

}  // namespace

TEST_CASE("gloo: refuses a process set that is none, in words") {
  BackendWorld world = GlooWorld(3);
  for (const std::vector<int>& members : {std::vector<int>{}, {0, 2}, {2, 1}, {1, 1}, {1, 3}}) {
    const Status status = world.backend(1).Split({7, members, {}}).status();
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK_THAT(status.message(), Catch::Contains("process set 7"));
    CHECK_THAT(status.message(), Catch::Contains("member 1 among them"));
  }
}

TEST_CASE("gloo: buckets of two sets may not be under way at once") {
  BackendWorld world = GlooWorld(2);
  TestSet set(world, 5, {0, 1});
  SplitAll(set);
  const Bucket of_set = BarrierOf(5), of_all = BarrierOf(0);
  const BucketBuffers nothing;
  CHECK_FALSE(world.backend(0).concurrent());
  REQUIRE(set.world().backend(0).Begin(of_set, nothing).ok());
  const Status status = world.backend(0).Begin(of_all, nothing).status();
  CHECK(status.code() == StatusCode::kInvalidArgument);
  CHECK_THAT(status.message(), Catch::Contains("one by one"));
}

TEST_CASE("gloo: whom a set's bucket waits for is counted by place, and named by rank") {
  BackendWorld world = GlooWorld(4, std::chrono::milliseconds(30));
  TestSet set(world, 5, {1, 3});
  SplitAll(set);
  const Bucket bucket = BarrierOf(5);
  const BucketBuffers nothing;
  Result<backends::Run*> run = set.world().backend(0).Begin(bucket, nothing);
  REQUIRE(run.ok());
  const Status status = Drive(set.world(), 0, **run, Patience());
  CHECK(status.code() == StatusCode::kTimedOut);
  CHECK_THAT(status.message(), Catch::Contains("rank 3 (pid 103 on host3)"));
  CHECK((*run)->WaitsFor() == std::vector<int>{1});
}

TEST_CASE("gloo: a set that is destroyed in the middle of a run ends the job's work") {
  BackendWorld world = GlooWorld(2);
  TestSet set(world, 5, {0, 1});
  SplitAll(set);
  const Bucket bucket = BarrierOf(5);
  const BucketBuffers nothing;
  REQUIRE(set.world().backend(0).Begin(bucket, nothing).ok());
  set.Destroy(0);
  const Status status = world.backend(0).Begin(bucket, nothing).status();
  CHECK(status.code() == StatusCode::kShutDown);
  CHECK_THAT(status.message(), Catch::Contains("in the middle of gloo: barrier"));
}

TEST_CASE("gloo: a rank that runs the bucket of another set is found out") {
  BackendWorld world = GlooWorld(2);
  TestSet one(world, 1, {0, 1}), two(world, 2, {0, 1});
  SplitAll(one);
  SplitAll(two);
  const std::vector<Status> statuses = OnEachRank(2, [&](int rank) {
    TestSet& set = rank == 0 ? one : two;
    return RunBucket(set.world(), rank, BarrierOf(set.process_set()), {});
  });
  for (const Status& status : statuses) CHECK_FALSE(status.ok());
  CHECK((statuses[0].code() == StatusCode::kCorrupt || statuses[1].code() == StatusCode::kCorrupt));
}

TEST_CASE("gloo: a set may be split from a set") {
  BackendWorld world = GlooWorld(4);
  TestSet odd(world, 1, {1, 3});
  SplitAll(odd);
  TestSet inner(odd.world(), 2, {1});
  SplitAll(inner);
  std::vector<BackendCase> cases;
  cases.emplace_back(AllreduceBucket(DType::kInt64, ReduceOp::kSum, 1), std::vector<int64_t>{97},
                     Memory::kApart, 3);
  CHECK(RunCases({}, inner.world(), cases) == "");
}

}  // namespace rueda::testing
