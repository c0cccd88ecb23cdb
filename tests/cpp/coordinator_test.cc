// Coordinator: who is answered what and when, one decision at a time.
#include "control/coordinator.h"

#include <catch2/catch.hpp>

#include "coordinator_job.h"

namespace rueda::control {

using std::chrono::seconds;

TEST_CASE("a request is answered when the last member has offered it", "[coordinator]") {
  CoordinatorJob job(3);
  CHECK(job.Answer(2, Full({Allreduce("x")})).empty());
  CHECK(job.Answer(0, Full({Allreduce("x")})).empty());
  const auto responses = job.Answer(1, Full({Allreduce("x")}));
  CHECK(responses == std::vector<Response>{Agreed("x", 0)});
  CHECK(job.Decide().empty());
}

TEST_CASE("a job of one rank is answered at once", "[coordinator]") {
  CoordinatorJob job(1);
  CHECK(job.Answer(0, Full({Allreduce("x")})) == std::vector<Response>{Agreed("x", 0)});
  CHECK(job.Answer(0, Bits({0})) == std::vector<Response>{Cached(0)});
}

TEST_CASE("frames carry the coordinator's limits", "[coordinator]") {
  CoordinatorOptions options;
  options.limits.bucket_bytes = 12345;
  options.limits.run_timeout = seconds(7);
  Coordinator coordinator(TopologyOf(1), options);
  REQUIRE(coordinator.Absorb(0, Full({Allreduce("x")}), TimePoint{}) == Status::Ok());
  const std::optional<Frame> frame = coordinator.Decide(TimePoint{});
  REQUIRE(frame);
  CHECK(frame->limits == options.limits);
}

TEST_CASE("limits change from one frame to the next, and bits stay good", "[coordinator]") {
  Coordinator coordinator(TopologyOf(1), {});
  REQUIRE(coordinator.Absorb(0, Full({Allreduce("a")}), TimePoint{}).ok());
  const std::optional<Frame> before = coordinator.Decide(TimePoint{});
  REQUIRE(before);
  CHECK(before->limits == Limits());
  Limits limits;
  limits.bucket_bytes = 17;
  limits.linger = Duration(5);
  REQUIRE(coordinator.Absorb(0, Bits({before->responses.at(0).slot}), TimePoint{}).ok());
  coordinator.SetLimits(limits);
  const std::optional<Frame> after = coordinator.Decide(TimePoint{});
  REQUIRE(after);
  CHECK(after->limits == limits);
  CHECK(after->cached == BitSet{0});
}

TEST_CASE("cached answers come by slot, full ones in the order of completion", "[coordinator]") {
  CoordinatorJob job(2);
  job.AnswerAll(Full({Allreduce("a"), Allreduce("b"), Allreduce("c")}));
  REQUIRE(job.Absorb(0, Bits({0, 1, 2})).ok());
  REQUIRE(job.Absorb(1, Full({Allreduce("z"), Allreduce("y")})).ok());
  REQUIRE(job.Absorb(1, Bits({2, 0})).ok());
  const auto responses = job.Answer(0, Full({Allreduce("y"), Allreduce("z")}));
  CHECK(responses == std::vector<Response>{Cached(0), Cached(2), Agreed("y", 3), Agreed("z", 4)});
  CHECK(job.Answer(1, Bits({1})) == std::vector<Response>{Cached(1)});
}

TEST_CASE("a change on one rank is agreed anew in the same slot", "[coordinator]") {
  CoordinatorJob job(3);
  CHECK(job.AnswerAll(Full({Allreduce("x")}))[0].placements.empty());
  Request placed = Allreduce("x");
  placed.placement = 64;
  for (int rank = 0; rank < 2; ++rank) REQUIRE(job.Absorb(rank, Full({placed})).ok());
  // Rank 2 stands by what it agreed to: private memory.
  CHECK(job.Answer(2, Bits({0})) == std::vector<Response>{Agreed("x", 0)});
  for (int rank = 0; rank < 2; ++rank) REQUIRE(job.Absorb(rank, Bits({0})).ok());
  const auto responses = job.Answer(2, Full({placed}));
  REQUIRE(responses.size() == 1);
  CHECK(responses[0].slot == 0);
  CHECK(responses[0].placements == std::vector<int64_t>{64, 64, 64});
  CHECK(job.AnswerAll(Bits({0})) == std::vector<Response>{Cached(0)});
}

TEST_CASE("one rank may gather another first dimension each time", "[coordinator]") {
  CoordinatorJob job(2);
  REQUIRE(job.Absorb(0, Full({Allgather("x", {1, 3})})).ok());
  job.Answer(1, Full({Allgather("x", {2, 3})}));
  for (int64_t rows = 3; rows < 6; ++rows) {
    REQUIRE(job.Absorb(1, Bits({0})).ok());
    const auto responses = job.Answer(0, Full({Allgather("x", {rows, 3})}));
    REQUIRE(responses.size() == 1);
    CHECK(responses[0].slot == 0);
    CHECK(responses[0].first_dims == std::vector<std::vector<int64_t>>{{rows, 2}});
  }
  CHECK(job.AnswerAll(Bits({0})) == std::vector<Response>{Cached(0)});
}

TEST_CASE("a change that does not fit drops the slot, and the job goes on", "[coordinator]") {
  CoordinatorJob job(2);
  job.AnswerAll(Full({Allreduce("x"), Allreduce("y")}));
  REQUIRE(job.Absorb(0, Bits({0})).ok());
  const auto responses = job.Answer(1, Full({Allreduce("x", {3})}));
  REQUIRE(responses.size() == 1);
  CHECK(responses[0].error.code() == StatusCode::kMismatch);
  CHECK(responses[0].only_rank == -1);
  CHECK(responses[0].slot == kNoSlot);
  CHECK_THAT(Words(responses), Catch::Contains("offered [10, 4], rank 1 (pid 101 on hostb) [3]."));
  CHECK(job.AnswerAll(Full({Allreduce("x", {3})})) == std::vector<Response>{Agreed("x", 0)});
  CHECK(job.AnswerAll(Bits({0, 1})) == std::vector<Response>{Cached(0), Cached(1)});
}

TEST_CASE("a dropped slot is no longer known until it is given again", "[coordinator]") {
  CoordinatorJob job(1);
  job.AnswerAll(Full({Broadcast("x", 0)}));
  CHECK_FALSE(job.AnswerAll(Full({Broadcast("x", 9)}))[0].error.ok());
  CHECK(job.Absorb(0, Bits({0})).code() == StatusCode::kCorrupt);
}

TEST_CASE("transient requests get no slot, and take one away", "[coordinator]") {
  CoordinatorJob job(2);
  Request transient = Allreduce("x");
  transient.transient = true;
  CHECK(job.AnswerAll(Full({transient})) == std::vector<Response>{Agreed("x")});
  CHECK(job.AnswerAll(Full({Allreduce("x")})) == std::vector<Response>{Agreed("x", 0)});
  CHECK(job.AnswerAll(Full({transient})) == std::vector<Response>{Agreed("x")});
  CHECK(job.Absorb(0, Bits({0})).code() == StatusCode::kCorrupt);
}

TEST_CASE("beyond the cache's capacity requests travel in full", "[coordinator]") {
  CoordinatorOptions options;
  options.cache_capacity = 1;
  CoordinatorJob job(2, options);
  const auto responses = job.AnswerAll(Full({Allreduce("x"), Allreduce("y")}));
  CHECK(responses == std::vector<Response>{Agreed("x", 0), Agreed("y")});
  CHECK(job.AnswerAll(Full({Allreduce("y")})) == std::vector<Response>{Agreed("y")});
  CHECK(job.AnswerAll(Bits({0})) == std::vector<Response>{Cached(0)});
}

TEST_CASE("breaking the protocol is told of the rank that does", "[coordinator]") {
  CoordinatorJob job(2);
  job.AnswerAll(Full({Allreduce("x")}));
  const auto refusal = [&](int from, const Batch& batch) {
    const Status status = job.Absorb(from, batch);
    CHECK(status.code() == StatusCode::kCorrupt);
    return status.message();
  };
  CHECK_THAT(refusal(1, Bits({7})), Catch::StartsWith("rank 1 (pid 101 on hostb) offered slot 7"));
  REQUIRE(job.Absorb(0, Bits({0})).ok());
  CHECK_THAT(refusal(0, Bits({0})), Catch::Contains("offered 'x' twice"));
  CHECK_THAT(refusal(0, Full({Allreduce("x")})), Catch::Contains("offered 'x' twice"));
  REQUIRE(job.Absorb(1, Leaving("")).ok());
  CHECK_THAT(refusal(1, Batch{}), Catch::Contains("after it had left"));
  CHECK_THAT(refusal(5, Batch{}), Catch::Contains("does not exist"));
}

TEST_CASE("a name offered again before its frame is decided breaks the protocol", "[coordinator]") {
  CoordinatorJob job(1);
  CHECK(job.Absorb(0, Full({Allreduce("x"), Allreduce("x")})).code() == StatusCode::kCorrupt);
}

TEST_CASE("process sets agree among themselves", "[coordinator]") {
  CoordinatorJob job(4);
  REQUIRE(job->AddProcessSet(1, {3, 1}).ok());
  Request request = Allreduce("x");
  request.process_set = 1;
  CHECK(job.Answer(0, Full({Allreduce("x")})).empty());
  CHECK(job.Answer(1, Full({request})).empty());
  Response expected = Agreed("x", 0);
  expected.process_set = 1;
  CHECK(job.Answer(3, Full({request})) == std::vector<Response>{expected});
  CHECK(job.Absorb(0, Bits({0})).code() == StatusCode::kCorrupt);
}

TEST_CASE("process sets are checked when they are added", "[coordinator]") {
  CoordinatorJob job(4);
  CHECK(job->AddProcessSet(1, {0, 2}).ok());
  CHECK_FALSE(job->AddProcessSet(1, {0, 3}).ok());
  CHECK_FALSE(job->AddProcessSet(0, {0, 3}).ok());
  CHECK_FALSE(job->AddProcessSet(2, {}).ok());
  CHECK_FALSE(job->AddProcessSet(2, {1, 1}).ok());
  CHECK_FALSE(job->AddProcessSet(2, {1, 4}).ok());
  CHECK_FALSE(job->AddProcessSet(2, {-1, 3}).ok());
}

TEST_CASE("an offer to an unknown or foreign process set is answered to its rank",
          "[coordinator]") {
  CoordinatorJob job(3);
  REQUIRE(job->AddProcessSet(1, {0, 2}).ok());
  Request request = Allreduce("x");
  request.process_set = 1;
  const auto foreign = job.Answer(1, Full({request}));
  REQUIRE(foreign.size() == 1);
  CHECK(foreign[0].error.code() == StatusCode::kInvalidArgument);
  CHECK(foreign[0].only_rank == 1);
  CHECK(foreign[0].process_set == 1);
  CHECK(Words(foreign) ==
        "allreduce 'x' names process set 1 (ranks 0 and 2), which rank 1 is not in. Call it on "
        "members only.");
  request.process_set = 9;
  const auto unknown = job.Answer(2, Full({request}));
  REQUIRE(unknown.size() == 1);
  CHECK(unknown[0].only_rank == 2);
  CHECK_THAT(Words(unknown), Catch::Contains("process set 9, which does not exist"));
}

}  // namespace rueda::control
