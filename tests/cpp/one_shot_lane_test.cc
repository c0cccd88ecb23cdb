// OneShotLane: which calls it takes, and what it does with what becomes of them.
#include "engine/one_shot_lane.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "timeline/recorder.h"

namespace rueda::engine {
namespace {

using backends::OneShot;
using Sight = OneShot::Sight;

// Shows what the test says, and notes what is done.
class ScriptedMeetings final : public OneShot {
 public:
  int64_t MostBytes() const override { return 64; }
  void Come(uint64_t wish, const BucketBuffers&) override {
    done += "come ";
    wishes.push_back(wish);
    sight = Sight::kWaits;
  }
  Sight Look() override { return sight; }
  void Reduce(const Bucket& bucket, const BucketBuffers&) override {
    done += "reduce:" + std::to_string(bucket.counts.front()) + " ";
    sight = Sight::kNobody;
  }
  void CallOff() override { done += "call off "; }
  void End() override { done += "end "; }

  Sight sight = Sight::kNobody;
  std::string done;
  std::vector<uint64_t> wishes;
};

class IdleBackend final : public backends::Backend {
 public:
  std::string_view name() const override { return "idle"; }
  Status Supports(const Bucket&) const override { return Status::Ok(); }
  Result<backends::Run*> Begin(const Bucket&, const BucketBuffers&) override {
    return Status(StatusCode::kUnsupported, "idle");
  }
  Result<std::unique_ptr<Backend>> Split(const backends::Subset&) override {
    return Status(StatusCode::kUnsupported, "idle");
  }
  void Abort(const Status&) override {}
};

struct Bench {
  Bench() {
    parts.topology = topology;
    parts.clock = clock;
  }

  // A call of the program, collected by the engine.
  Work* Submit(const control::Request& request, bool driven = true) {
    auto shared = std::make_shared<control::Request>(request);
    BucketBuffers buffers;
    for (const control::TensorSpec& tensor : shared->tensors) {
      const TensorView view{memory, tensor.count(), tensor.dtype};
      buffers.inputs.push_back(view);
      buffers.outputs.push_back(view);
    }
    tickets.push_back(table.Add({shared, buffers, nullptr, true, driven}).value());
    std::vector<Work*> taken;
    table.TakeNew(&taken, SubmissionTable::AndThen::kSleeps);
    return taken.front();
  }
  Work* Submit(const std::string& name, int64_t count = 4) { return Submit(Of(name, count)); }
  static control::Request Of(const std::string& name, int64_t count) {
    control::Request request;
    request.name = name;
    request.tensors = {{name, DType::kFloat32, {count}}};
    return request;
  }
  bool Done(const Work* work) const { return work->ticket.done(); }

  char memory[64] = {};
  Topology topology{0, 2, 0, 2, 0, 1, {{"a", 10}, {"b", 11}}};
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  EngineParts parts;
  ScriptedMeetings meetings;
  SubmissionTable table;
  Executor executor{&topology, std::make_unique<IdleBackend>(), &table, clock.get()};
  std::vector<TicketPtr> tickets;
  OneShotLane lane{&parts, &meetings, &table, &executor};
};

TEST_CASE("a small call is done at its meeting", "[engine][one-shot]") {
  Bench bench;
  Work* const work = bench.Submit("x");
  REQUIRE(bench.lane.Take(work, 0));
  CHECK(work->ticket.offered());
  CHECK_FALSE(bench.lane.Step().moved);
  bench.meetings.sight = Sight::kAgreed;
  const OneShotLane::Outcome outcome = bench.lane.Step();
  CHECK(outcome.moved);
  CHECK(outcome.to_offer == nullptr);
  CHECK(bench.meetings.done == "come reduce:4 ");
  REQUIRE(bench.tickets.front()->done());
  CHECK(bench.tickets.front()->status().ok());
  CHECK(bench.table.SomeInFlight(1).count == 0);
  CHECK(bench.executor.last_run().completed == 1);
  CHECK(bench.executor.last_run().request->name == "x");
  CHECK(bench.lane.NextDeadline() == kNever);
}

TEST_CASE("all ranks wish for the same call by the same number", "[engine][one-shot]") {
  Bench one, other;
  for (Bench* bench : {&one, &other}) {
    for (const char* name : {"x", "x", "y"}) {
      REQUIRE(bench->lane.Take(bench->Submit(name), 0));
      bench->meetings.sight = Sight::kAgreed;
      bench->lane.Step();
    }
  }
  const std::vector<uint64_t>& wishes = one.meetings.wishes;
  CHECK(wishes == other.meetings.wishes);
  CHECK(wishes[0] == wishes[1]);
  CHECK(wishes[0] != wishes[2]);
}

TEST_CASE("what does not fit is offered", "[engine][one-shot]") {
  Bench bench;
  control::Request request = Bench::Of("x", 4);
  bool driven = true;
  SECTION("too large") { request = Bench::Of("x", 17); }
  SECTION("another operation") { request.kind = OpKind::kAllgather; }
  SECTION("of a process set") { request.process_set = 1; }
  SECTION("in memory that peers map") { request.placement = 0; }
  SECTION("nothing that can be added") { request.tensors[0].dtype = DType::kFloat8E5M2; }
  SECTION("several buckets") { request.tensors.push_back({"y", DType::kInt32, {1}}); }
  SECTION("an empty group") { request.tensors.clear(); }
  SECTION("nobody waits for it") { driven = false; }
  SECTION("a barrier after something else") {
    bench.Submit("before");
    request.kind = OpKind::kBarrier;
    request.tensors.clear();
  }
  CHECK_FALSE(bench.lane.Take(bench.Submit(request, driven), 0));
  CHECK(bench.meetings.done.empty());
}

TEST_CASE("complex numbers, groups and barriers fit", "[engine][one-shot]") {
  Bench bench;
  control::Request request = Bench::Of("x", 4);
  std::string expected;
  SECTION("complex") {
    request.tensors[0].dtype = DType::kComplex64;
    expected = "come reduce:8 ";
  }
  SECTION("a group of one dtype") {
    request.tensors.push_back({"y", DType::kFloat32, {3, 2}});
    expected = "come reduce:10 ";
  }
  SECTION("a barrier") {
    request.kind = OpKind::kBarrier;
    request.tensors.clear();
    expected = "come reduce:0 ";
  }
  REQUIRE(bench.lane.Take(bench.Submit(request), 0));
  bench.meetings.sight = Sight::kAgreed;
  bench.lane.Step();
  CHECK(bench.meetings.done == expected);
}

TEST_CASE("another call comes with its slot, and runs as its meeting agrees",
          "[engine][one-shot]") {
  const bool agreed = GENERATE(true, false);
  Bench bench;
  control::Request request = Bench::Of("x", 4);
  SECTION("too large") { request = Bench::Of("x", 17); }
  SECTION("another operation") { request.kind = OpKind::kAllgather; }
  SECTION("in memory that peers map") { request.placement = 0; }
  SECTION("several buckets") { request.tensors.push_back({"y", DType::kInt32, {1}}); }
  Work* const work = bench.Submit(request);
  CHECK_FALSE(bench.lane.MayRun());
  REQUIRE(bench.lane.Take(work, 77));
  CHECK(bench.meetings.wishes == std::vector<uint64_t>{77});
  CHECK(work->ticket.offered());
  CHECK(bench.lane.MayRun());
  bench.meetings.sight = agreed ? Sight::kAgreed : Sight::kApart;
  const OneShotLane::Outcome outcome = bench.lane.Step();
  CHECK(outcome.moved);
  CHECK(outcome.to_run == (agreed ? work : nullptr));
  CHECK(outcome.to_offer == (agreed ? nullptr : work));
  CHECK_FALSE(bench.lane.MayRun());
  CHECK_FALSE(bench.Done(work));
  CHECK(bench.meetings.done == "come ");
}

TEST_CASE("a small call needs no slot, and a barrier has none", "[engine][one-shot]") {
  Bench bench;
  control::Request request = Bench::Of("x", 4);
  SECTION("an all-reduce") {}
  SECTION("a barrier") {
    request.kind = OpKind::kBarrier;
    request.tensors.clear();
  }
  REQUIRE(bench.lane.Take(bench.Submit(request), 77));
  CHECK(bench.meetings.wishes.front() != 77);
  CHECK_FALSE(bench.lane.MayRun());
}

TEST_CASE("who must know the verdict calls the meeting off", "[engine][one-shot]") {
  Bench bench;
  REQUIRE(bench.lane.Take(bench.Submit("x", 17), 77));
  bench.lane.Settle();
  CHECK(bench.meetings.done == "come call off ");
  bench.lane.End();
  CHECK_FALSE(bench.lane.MayRun());
}

TEST_CASE("one call at a time is at a meeting", "[engine][one-shot]") {
  Bench bench;
  REQUIRE(bench.lane.Take(bench.Submit("x"), 0));
  CHECK_FALSE(bench.lane.Take(bench.Submit("y"), 0));
}

TEST_CASE("what came to nothing is offered, and so are more and more after it",
          "[engine][one-shot]") {
  Bench bench;
  int number = 0;
  for (const int expected : {2, 4, 8, 16, 32, 64, 64}) {
    Work* const work = bench.Submit("x" + std::to_string(number++));
    REQUIRE(bench.lane.Take(work, 0));
    bench.meetings.sight = Sight::kApart;
    CHECK(bench.lane.Step().to_offer == work);
    bench.meetings.sight = Sight::kNobody;
    CHECK_FALSE(work->ticket.done());
    for (int i = 0; i < expected; ++i) {
      CHECK_FALSE(bench.lane.Take(bench.Submit("x" + std::to_string(number++)), 0));
    }
  }
  REQUIRE(bench.lane.Take(bench.Submit("good"), 0));
  bench.meetings.sight = Sight::kAgreed;
  bench.lane.Step();
  REQUIRE(bench.lane.Take(bench.Submit("at once"), 0));
}

TEST_CASE("who waits at a meeting for long calls it off", "[engine][one-shot]") {
  Bench bench;
  Work* const work = bench.Submit("x");
  REQUIRE(bench.lane.Take(work, 0));
  const TimePoint until = bench.lane.NextDeadline();
  REQUIRE(until != kNever);
  bench.clock->Advance(until - bench.clock->Now() - Duration(1));
  CHECK_FALSE(bench.lane.Step().moved);
  bench.clock->Advance(Duration(1));
  CHECK(bench.lane.Step().moved);
  CHECK(bench.meetings.done == "come call off ");
  bench.meetings.sight = Sight::kApart;
  CHECK(bench.lane.Step().to_offer == work);
  CHECK(bench.lane.NextDeadline() == kNever);
}

TEST_CASE("who waits for an answer to a small offer calls the meeting off", "[engine][one-shot]") {
  Bench bench;
  bench.meetings.sight = Sight::kOthers;
  CHECK_FALSE(bench.lane.Step().moved);  // it may still want the same
  bench.Submit(Bench::Of("nobody waits for this large one", 17), /*driven=*/false);
  control::Request request = Bench::Of("offered", 16);
  request.process_set = 1;
  bench.Submit(request);
  CHECK_FALSE(bench.lane.Step().moved);
  request.process_set = 0;
  bool driven = false;
  SECTION("of a small all-reduce") {}
  SECTION("of something that it waits for") {
    request.tensors[0].shape = {17};
    driven = true;
  }
  SECTION("of a join") { request.kind = OpKind::kJoin; }
  SECTION("of a barrier") { request.kind = OpKind::kBarrier; }
  bench.Submit(request, driven);
  CHECK(bench.lane.Step().moved);
  CHECK(bench.meetings.done == "call off ");
}

TEST_CASE("a call that has ended at a meeting is left alone", "[engine][one-shot]") {
  Bench bench;
  Work* const work = bench.Submit("x");
  Work* const other = bench.Submit("y");
  REQUIRE(bench.lane.Take(work, 0));
  bench.lane.Forget(other);
  CHECK(bench.lane.Has(work));
  bench.lane.Forget(work);
  CHECK_FALSE(bench.lane.Has(work));
  bench.table.Complete(work, Status(StatusCode::kPeerLeft, "gone"));
  bench.meetings.sight = GENERATE(Sight::kAgreed, Sight::kApart);
  const OneShotLane::Outcome outcome = bench.lane.Step();
  CHECK(outcome.moved);
  CHECK(outcome.to_offer == nullptr);
  CHECK(bench.meetings.done == "come ");
}

TEST_CASE("after the end there are no meetings", "[engine][one-shot]") {
  Bench bench;
  bench.meetings.sight = Sight::kOver;
  CHECK_FALSE(bench.lane.Take(bench.Submit("x"), 0));
  CHECK_FALSE(bench.lane.Step().moved);
}

TEST_CASE("who leaves ends the meetings", "[engine][one-shot]") {
  Bench bench;
  Work* const work = bench.Submit("x");
  REQUIRE(bench.lane.Take(work, 0));
  bench.lane.End();
  bench.lane.End();
  CHECK(bench.meetings.done == "come end ");
  CHECK(bench.lane.NextDeadline() == kNever);
  bench.meetings.sight = Sight::kAgreed;
  CHECK_FALSE(bench.lane.Step().moved);
  CHECK_FALSE(work->ticket.done());
  CHECK_FALSE(bench.lane.Take(bench.Submit("y"), 0));
}

TEST_CASE("without meetings everything is offered", "[engine][one-shot]") {
  Bench bench;
  OneShotLane none(&bench.parts, nullptr, &bench.table, &bench.executor);
  CHECK_FALSE(none.Take(bench.Submit("x"), 0));
  CHECK_FALSE(none.Step().moved);
  none.End();
}

TEST_CASE("a timeline sees all calls offered", "[engine][one-shot]") {
  Bench bench;
  const auto recorder = std::make_shared<timeline::Recorder>(bench.clock);
  SubmissionTable traced{Tracer(recorder)};
  OneShotLane lane(&bench.parts, &bench.meetings, &traced, &bench.executor);
  Work* const work = bench.Submit("x");
  recorder->Start(false);
  CHECK_FALSE(lane.Take(work, 0));
  recorder->Stop();
  CHECK(lane.Take(work, 0));
}

}  // namespace
}  // namespace rueda::engine
