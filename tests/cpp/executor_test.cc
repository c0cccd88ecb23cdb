// Executor: one bucket after another, time-outs by the clock it is given, answers to the right
// works.
#include "engine/executor.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "status_text.h"

namespace rueda::engine {
namespace {

using backends::Progress;

// Does what the test says, step by step, and notes what it was given.
class ScriptedBackend final : public backends::Backend, public backends::Run {
 public:
  explicit ScriptedBackend(bool concurrent = false) : side_by_side(concurrent) {}

  std::string_view name() const override { return "scripted"; }
  Status Supports(const Bucket& bucket) const override {
    if (bucket.dtype == refused) return {StatusCode::kUnsupported, "not this dtype"};
    return Status::Ok();
  }
  Result<Run*> Begin(const Bucket& bucket, const BucketBuffers&) override {
    begun.push_back(bucket.counts.front());
    return static_cast<Run*>(this);
  }
  Result<std::unique_ptr<Backend>> Split(const backends::Subset& subset) override {
    auto split = std::make_unique<ScriptedBackend>();
    splits[subset.process_set] = split.get();
    return std::unique_ptr<Backend>(std::move(split));
  }
  bool concurrent() const override { return side_by_side; }
  void Abort(const Status&) override {}
  Result<Progress> Step() override { return answer; }
  std::vector<int> WaitsFor() const override { return waits_for; }

  DType refused = DType::kBool;
  Result<Progress> answer = Progress::kDone;
  std::vector<int> waits_for;
  std::vector<int64_t> begun;
  const bool side_by_side;
  std::map<uint32_t, ScriptedBackend*> splits;  // owned by the executor
};

std::shared_ptr<const control::PlannedBucket> PlannedOf(int64_t count, DType dtype,
                                                        uint32_t process_set = 0) {
  auto planned = std::make_shared<control::PlannedBucket>();
  planned->bucket.process_set = process_set;
  planned->bucket.dtype = dtype;
  planned->bucket.counts = {count};
  return planned;
}

struct Bench {
  explicit Bench(bool side_by_side = false) : owned(new ScriptedBackend(side_by_side)) {}

  // Submits a request; the work is the executor's from here on.
  Work* Submit(const std::string& name) {
    auto request = std::make_shared<control::Request>();
    request->name = name;
    tickets.push_back(table.Add({request, {}, nullptr, false}).value());
    std::vector<Work*> taken;
    table.TakeNew(&taken, SubmissionTable::AndThen::kSleeps);
    return taken.front();
  }
  void Enqueue(int64_t count, std::vector<Work*> completes, DType dtype = DType::kFloat32) {
    BucketJob job;
    job.planned = PlannedOf(count, dtype);
    job.touches = completes;
    job.completes = std::move(completes);
    job.description = "allreduce 'w" + std::to_string(count) + "'";
    executor.Enqueue(std::move(job), std::chrono::seconds(3));
  }

  Topology topology{0, 3, 0, 3, 0, 1, {{"a", 10}, {"b", 11}, {"c", 12}}};
  ManualClock clock;
  std::unique_ptr<ScriptedBackend> owned;
  ScriptedBackend& backend = *owned;
  SubmissionTable table;
  std::vector<TicketPtr> tickets;
  Executor executor{&topology, std::move(owned), &table, &clock};
};

TEST_CASE("an executor without work does nothing", "[executor]") {
  Bench bench;
  CHECK(bench.executor.idle());
  CHECK_FALSE(*bench.executor.Step());
  CHECK(bench.executor.deadline() == kNever);
}

TEST_CASE("buckets run in order, one at a time, each completes its works", "[executor]") {
  Bench bench;
  Work* const first = bench.Submit("a");
  Work* const second = bench.Submit("b");
  Work* const third = bench.Submit("c");
  bench.Enqueue(1, {first, second});
  bench.Enqueue(2, {third});
  bench.backend.answer = Progress::kWaiting;
  CHECK_FALSE(*bench.executor.Step());
  bench.backend.answer = Progress::kMoved;
  CHECK(*bench.executor.Step());
  CHECK(bench.backend.begun == std::vector<int64_t>{1});
  CHECK_FALSE(bench.tickets[0]->done());
  bench.backend.answer = Progress::kDone;
  CHECK(*bench.executor.Step());
  CHECK(bench.tickets[0]->done());
  CHECK(bench.tickets[1]->done());
  CHECK_FALSE(bench.tickets[2]->done());
  CHECK(*bench.executor.Step());
  CHECK(bench.backend.begun == std::vector<int64_t>{1, 2});
  CHECK(bench.executor.idle());
  for (const TicketPtr& ticket : bench.tickets) CHECK(ticket->status() == Status());
}

TEST_CASE("a bucket is timed from its own beginning, while it waits", "[executor]") {
  Bench bench;
  bench.Enqueue(1, {bench.Submit("a")});
  bench.Enqueue(2, {bench.Submit("b")});
  bench.clock.Advance(std::chrono::hours(1));  // in the queue nothing runs out
  bench.backend.answer = Progress::kWaiting;
  bench.backend.waits_for = {2, 1};
  CHECK_FALSE(*bench.executor.Step());
  CHECK(bench.executor.deadline() == bench.clock.Now() + std::chrono::seconds(3));
  bench.clock.Advance(std::chrono::milliseconds(2'999));
  CHECK_FALSE(*bench.executor.Step());
  bench.clock.Advance(std::chrono::milliseconds(1));
  const Status late = bench.executor.Step().status();
  CHECK(late.code() == StatusCode::kTimedOut);
  CHECK(late.blamed_rank() == -1);  // either may be the cause
  CHECK_THAT(late.message(), Catch::Contains("allreduce 'w1'") && Catch::Contains("3 s") &&
                                 Catch::Contains("rank 2 (pid 12 on c)") &&
                                 Catch::Contains("rank 1 (pid 11 on b)") &&
                                 Catch::Contains("RUEDA_TIMEOUT_SECONDS"));
}

TEST_CASE("a bucket that is done or moves at the last moment is not late", "[executor]") {
  Bench bench;
  bench.Enqueue(1, {bench.Submit("a")});
  bench.Enqueue(2, {bench.Submit("b")});
  bench.backend.answer = Progress::kMoved;
  CHECK(*bench.executor.Step());
  bench.clock.Advance(std::chrono::hours(1));
  CHECK(*bench.executor.Step());
  bench.backend.answer = Progress::kDone;
  CHECK(*bench.executor.Step());
  // The next has a time of its own.
  bench.backend.answer = Progress::kWaiting;
  CHECK_FALSE(*bench.executor.Step());
}

TEST_CASE("nobody is blamed for a late bucket that waits for nobody known", "[executor]") {
  Bench bench;
  bench.Enqueue(1, {bench.Submit("a")});
  bench.backend.answer = Progress::kWaiting;
  CHECK_FALSE(*bench.executor.Step());
  bench.clock.Advance(std::chrono::seconds(4));
  CHECK(bench.executor.Step().status().blamed_rank() == -1);
}

TEST_CASE("an error of the backend is the epoch's", "[executor]") {
  Bench bench;
  bench.Enqueue(1, {bench.Submit("a")});
  const Status broken = Status(StatusCode::kPeerLost, "rank 1 is gone").Blame(1);
  bench.backend.answer = broken;
  CHECK(bench.executor.Step().status() == broken);
  CHECK_FALSE(bench.tickets[0]->done());  // the engine completes it with its first error
}

TEST_CASE("what the backend cannot do fails alone", "[executor]") {
  Bench bench;
  bench.Enqueue(1, {bench.Submit("a")}, DType::kBool);
  bench.Enqueue(2, {bench.Submit("b")});
  CHECK(*bench.executor.Step());
  CHECK(bench.tickets[0]->status().code() == StatusCode::kUnsupported);
  CHECK(*bench.executor.Step());
  CHECK(bench.tickets[1]->status() == Status());
  CHECK(bench.backend.begun == std::vector<int64_t>{2});
}

TEST_CASE("a group that loses one of its buckets fails as a whole", "[executor]") {
  const bool first_is_lost = GENERATE(false, true);
  Bench bench;
  Work* const group = bench.Submit("group");
  for (const bool last : {false, true}) {
    BucketJob job;
    job.planned = PlannedOf(1, last == first_is_lost ? DType::kFloat32 : DType::kBool);
    job.touches = {group};
    if (last) job.completes = {group};
    bench.executor.Enqueue(std::move(job), std::chrono::seconds(3));
  }
  CHECK(*bench.executor.Step());
  CHECK_FALSE(bench.tickets[0]->done());
  CHECK(*bench.executor.Step());
  CHECK(bench.tickets[0]->status().code() == StatusCode::kUnsupported);
}

BucketJob JobOf(uint32_t process_set, int64_t count) {
  BucketJob job;
  job.planned = PlannedOf(count, DType::kFloat32, process_set);
  return job;
}

TEST_CASE("nothing of one set waits for another's where backends work side by side", "[executor]") {
  Bench bench(/*side_by_side=*/true);
  REQUIRE(bench.executor.AddSet(3, {0, 2}, {}, nullptr).ok());
  bench.executor.Enqueue(JobOf(0, 1), std::chrono::seconds(3));
  bench.executor.Enqueue(JobOf(3, 2), std::chrono::seconds(3));
  bench.backend.answer = Progress::kWaiting;
  CHECK(*bench.executor.Step());
  CHECK(bench.backend.begun == std::vector<int64_t>{1});
  CHECK(bench.backend.splits.at(3)->begun == std::vector<int64_t>{2});
  CHECK_FALSE(bench.executor.idle());
  bench.backend.answer = Progress::kDone;
  CHECK(*bench.executor.Step());
  CHECK(bench.executor.idle());
}

TEST_CASE("elsewhere the buckets of all sets run in one order", "[executor]") {
  Bench bench;
  REQUIRE(bench.executor.AddSet(3, {0, 2}, {}, nullptr).ok());
  bench.executor.Enqueue(JobOf(0, 1), std::chrono::seconds(3));
  bench.executor.Enqueue(JobOf(3, 2), std::chrono::seconds(3));
  bench.backend.answer = Progress::kWaiting;
  CHECK_FALSE(*bench.executor.Step());
  CHECK(bench.backend.splits.at(3)->begun.empty());
  bench.backend.answer = Progress::kDone;
  CHECK(*bench.executor.Step());
  CHECK(*bench.executor.Step());
  CHECK(bench.backend.splits.at(3)->begun == std::vector<int64_t>{2});
}

TEST_CASE("a late bucket of a set names the ranks behind the members", "[executor]") {
  Bench bench(/*side_by_side=*/true);
  REQUIRE(bench.executor.AddSet(3, {0, 2}, {}, nullptr).ok());
  ScriptedBackend& split = *bench.backend.splits.at(3);
  split.answer = Progress::kWaiting;
  split.waits_for = {1};
  bench.executor.Enqueue(JobOf(3, 2), std::chrono::seconds(3));
  CHECK_FALSE(*bench.executor.Step());
  CHECK(bench.executor.deadline() == bench.clock.Now() + std::chrono::seconds(3));
  bench.clock.Advance(std::chrono::seconds(3));
  CHECK(bench.executor.Step().status().blamed_rank() == 2);
}

TEST_CASE("a set ends after what was enqueued for it, and lets its memory go", "[executor]") {
  const bool side_by_side = GENERATE(false, true);
  Bench bench(side_by_side);
  auto memory = std::make_shared<int>(0);
  const std::weak_ptr<int> alive = memory;
  REQUIRE(bench.executor.AddSet(3, {0, 2}, {}, std::move(memory)).ok());
  CHECK(*bench.executor.RanksOf(3) == std::vector<int>{0, 2});
  ScriptedBackend& split = *bench.backend.splits.at(3);
  split.answer = Progress::kWaiting;
  bench.executor.Enqueue(JobOf(3, 2), std::chrono::seconds(3));
  bench.executor.RemoveSet(3, bench.Submit("remove"));
  CHECK_FALSE(*bench.executor.Step());
  CHECK_FALSE(bench.tickets[0]->done());
  split.answer = Progress::kDone;
  while (*bench.executor.Step()) continue;
  CHECK(bench.tickets[0]->status() == Status());
  CHECK(bench.tickets[0]->done());
  CHECK(alive.expired());
  CHECK(bench.executor.RanksOf(3) == nullptr);
  CHECK(bench.executor.idle());
}

}  // namespace
}  // namespace rueda::engine
