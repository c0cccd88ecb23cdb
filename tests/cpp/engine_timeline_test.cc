// Timelines of whole jobs: what every rank did is in rank 0's file, whoever ends how.
#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <vector>

#include "engine_fakes.h"
#include "status_text.h"
#include "thread_job.h"
#include "trace_reader.h"

namespace rueda::testing {
namespace {

// On every rank: `count` allreduces of 100 floats, one after another, named "a0", "a1", ...
Status ReduceSome(engine::Engine& engine, int count) {
  for (int i = 0; i < count; ++i) {
    std::vector<float> values(100, 1.0F);
    RUEDA_RETURN_IF_ERROR(ReduceInPlace(engine, RequestFor("a" + std::to_string(i), 100), &values));
  }
  return Status::Ok();
}

bool AllOk(const std::vector<Status>& statuses) {
  return std::all_of(statuses.begin(), statuses.end(), [](const Status& s) { return s.ok(); });
}

double End(const JsonValue& event) { return event["ts"].number + event["dur"].number; }

TEST_CASE("what all ranks do is in rank 0's file", "[engine][timeline]") {
  Folder folder;
  const std::string path = folder.File("trace.json");
  const int size = GENERATE(1, 2, 4);
  Config config;
  config.backend = GENERATE("shm", "gloo");
  ThreadJob job(size, config);
  REQUIRE(job.engine(0).StartTimeline(path, true).ok());
  // Until then another rank may offer before it hears of the start.
  REQUIRE(AllOk(job.ForEachRank([&](int rank) { return WaitAtBarrier(job.engine(rank), "b"); })));
  REQUIRE(AllOk(job.ForEachRank([&](int rank) { return ReduceSome(job.engine(rank), 5); })));
  REQUIRE(job.engine(0).StopTimeline().ok());

  const JsonValue trace = TraceOf(path);
  for (int rank = 0; rank < size; ++rank) {
    const std::vector<JsonValue> requests = EventsOf(trace, "request", rank);
    REQUIRE(requests.size() == 6);
    double bytes = 0;
    for (const JsonValue& request : requests) bytes += request["args"]["bytes"].number;
    CHECK(bytes == 5 * 400);
    CHECK(EventsOf(trace, "negotiation", rank).size() >= 5);
    CHECK(EventsOf(trace, "queue", rank).size() >= 5);
    CHECK(EventsOf(trace, "run", rank).size() == 6);
    CHECK(EventsOf(trace, "collective", rank).size() == 6);
    CHECK(EventsOf(trace, "frame", rank).size() >= 5);
    CHECK(AboutRank(trace, rank)["complete"].boolean);
    CHECK(AboutRank(trace, rank)["clock_offset_ns"].number == 0);
  }
}

TEST_CASE("no rank's collective ends before another's begins", "[engine][timeline]") {
  Folder folder;
  const std::string path = folder.File("trace.json");
  ThreadJob job(3);
  REQUIRE(job.engine(0).StartTimeline(path, false).ok());
  REQUIRE(AllOk(job.ForEachRank([&](int rank) { return ReduceSome(job.engine(rank), 50); })));
  REQUIRE(job.engine(0).StopTimeline().ok());
  const JsonValue trace = TraceOf(path);
  std::map<double, std::pair<double, double>> buckets;  // last begin, first end
  for (int rank = 0; rank < 3; ++rank) {
    for (const JsonValue& event : EventsOf(trace, "collective", rank)) {
      auto [known, added] =
          buckets.try_emplace(event["args"]["bucket"].number, event["ts"].number, End(event));
      known->second.first = std::max(known->second.first, event["ts"].number);
      known->second.second = std::min(known->second.second, End(event));
    }
  }
  CHECK(buckets.size() == 50);
  for (const auto& [bucket, span] : buckets) CHECK(span.first <= span.second);
}

TEST_CASE("rank 0 knows who offered last", "[engine][timeline]") {
  Folder folder;
  const std::string path = folder.File("trace.json");
  ThreadJob job(2);
  REQUIRE(job.engine(0).StartTimeline(path, false).ok());
  std::vector<float> first(10, 1.0F);
  const auto early = SubmitInPlace(job.engine(0), RequestFor("x", 10), &first);
  // Through another frame, so that rank 0's offer of "x" has certainly been taken in.
  REQUIRE(AllOk(job.ForEachRank([&](int rank) { return WaitAtBarrier(job.engine(rank), "b"); })));
  std::vector<float> second(10, 1.0F);
  REQUIRE(ReduceInPlace(job.engine(1), RequestFor("x", 10), &second).ok());
  REQUIRE(Finish(job.engine(0), early).ok());
  REQUIRE(job.engine(0).StopTimeline().ok());
  const JsonValue trace = TraceOf(path);
  double last = -1;
  for (const JsonValue& event : EventsOf(trace, "request", 0)) {
    if (event["args"]["tensor"].text != "x") continue;
    for (const JsonValue& phase : EventsOf(trace, "negotiation", 0)) {
      if (phase["ts"].number == event["ts"].number && phase["tid"].number == event["tid"].number) {
        last = phase["args"]["last_rank"].number;
      }
    }
  }
  CHECK(last == 1);
}

TEST_CASE("a timeline starts and stops at any time, each into a file of its own",
          "[engine][timeline]") {
  Folder folder;
  ThreadJob job(2);
  REQUIRE(job.engine(0).StopTimeline().ok());
  for (int round = 0; round < 3; ++round) {
    const std::string path = folder.File("trace" + std::to_string(round) + ".json");
    REQUIRE(AllOk(job.ForEachRank([&](int rank) { return ReduceSome(job.engine(rank), 3); })));
    REQUIRE(job.engine(0).StartTimeline(path, false).ok());
    REQUIRE(
        AllOk(job.ForEachRank([&](int rank) { return ReduceSome(job.engine(rank), round + 1); })));
    REQUIRE(job.engine(0).StopTimeline().ok());
    for (int rank = 0; rank < 2; ++rank) {
      const auto requests = EventsOf(TraceOf(path), "request", rank);
      CHECK(requests.size() == static_cast<size_t>(round + 1));
    }
  }
}

TEST_CASE("a second start is refused, and the first goes on", "[engine][timeline]") {
  Folder folder;
  const std::string path = folder.File("trace.json");
  ThreadJob job(2);
  CHECK(job.engine(0).StartTimeline(folder.path(), false).code() == StatusCode::kInvalidArgument);
  REQUIRE(job.engine(0).StartTimeline(path, false).ok());
  const Status second = job.engine(0).StartTimeline(folder.path() + "/other", false);
  CHECK(second.code() == StatusCode::kInvalidArgument);
  CHECK(second.message().find(path) != std::string::npos);
  CHECK(job.engine(1).StartTimeline("/nowhere/at/all", false).ok());
  CHECK(job.engine(1).StopTimeline().ok());
  REQUIRE(AllOk(job.ForEachRank([&](int rank) { return ReduceSome(job.engine(rank), 2); })));
  REQUIRE(job.engine(0).StopTimeline().ok());
  CHECK(EventsOf(TraceOf(path), "request", 1).size() == 2);
}

TEST_CASE("stopping the job completes the file, in whichever order the ranks leave",
          "[engine][timeline]") {
  Folder folder;
  const std::string path = folder.File("trace.json");
  ThreadJob job(3);
  REQUIRE(job.engine(0).StartTimeline(path, false).ok());
  REQUIRE(AllOk(job.ForEachRank([&](int rank) { return ReduceSome(job.engine(rank), 4); })));
  SECTION("rank 0 first") { job.engine(0).Stop(); }
  SECTION("rank 0 last") {
    job.engine(2).Stop();
    job.engine(1).Stop();
  }
  SECTION("all at once") {}
  job.StopAll();
  const JsonValue trace = TraceOf(path);
  for (int rank = 0; rank < 3; ++rank) {
    CHECK(EventsOf(trace, "request", rank).size() == 4);
    CHECK(AboutRank(trace, rank)["complete"].boolean);
  }
  CHECK(job.engine(0).StartTimeline(path, false).code() == StatusCode::kShutDown);
  CHECK(job.engine(0).StopTimeline().ok());
}

TEST_CASE("after a death rank 0's file parses and shows what hung", "[engine][timeline]") {
  Folder folder;
  const std::string path = folder.File("trace.json");
  Gate gate;
  ThreadJob job(2, {}, [&](int rank, engine::EngineParts& parts) {
    if (rank == 1) parts.backend = StopsAt(&gate, 1000, std::move(parts.backend));
  });
  const OpensAtTheEnd opens(&gate);
  REQUIRE(job.engine(0).StartTimeline(path, false).ok());
  REQUIRE(AllOk(job.ForEachRank([&](int rank) { return ReduceSome(job.engine(rank), 3); })));
  std::vector<float> values(100, 1.0F);
  const auto lost = SubmitInPlace(job.engine(0), RequestFor("never", 100), &values);
  job.TellOfDeath(1);
  CHECK(Finish(job.engine(0), lost).code() == StatusCode::kPeerLost);
  REQUIRE(job.engine(0).StopTimeline().ok());
  const JsonValue trace = TraceOf(path);
  const std::vector<JsonValue> requests = EventsOf(trace, "request", 0);
  REQUIRE(requests.size() == 4);
  CHECK(requests.back()["args"]["tensor"].text == "never");
  CHECK(requests.back()["args"]["error"].text == "R301");
  CHECK_FALSE(AboutRank(trace, 1)["complete"].boolean);
}

TEST_CASE("what was under way when recording began is drawn from there on", "[engine][timeline]") {
  Folder folder;
  const std::string path = folder.File("trace.json");
  ThreadJob job(2);
  std::vector<float> first(10, 1.0F);
  const auto early = SubmitInPlace(job.engine(0), RequestFor("x", 10), &first);
  REQUIRE(AllOk(job.ForEachRank([&](int rank) { return WaitAtBarrier(job.engine(rank), "b"); })));
  REQUIRE(job.engine(0).StartTimeline(path, false).ok());
  std::vector<float> second(10, 1.0F);
  REQUIRE(ReduceInPlace(job.engine(1), RequestFor("x", 10), &second).ok());
  REQUIRE(Finish(job.engine(0), early).ok());
  REQUIRE(job.engine(0).StopTimeline().ok());
  const JsonValue trace = TraceOf(path);
  const std::vector<JsonValue> requests = EventsOf(trace, "request", 0);
  REQUIRE(requests.size() == 1);
  CHECK(requests[0]["args"]["began_before_recording"].boolean);
  CHECK(EventsOf(trace, "negotiation", 0).empty());
}

}  // namespace
}  // namespace rueda::testing
