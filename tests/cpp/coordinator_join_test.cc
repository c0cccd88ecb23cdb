// Coordinator: ranks that have joined are waited for no longer, until all have.
#include <catch2/catch.hpp>

#include "control/coordinator.h"
#include "coordinator_job.h"

namespace rueda::control {
namespace {

using std::chrono::seconds;

TEST_CASE("a join ends when all have joined, and tells who was last", "[coordinator]") {
  CoordinatorJob job(3);
  CHECK(job.Answer(1, Full({Join()})).empty());
  CHECK(job.Answer(2, Full({Join()})).empty());
  const auto responses = job.Answer(0, Full({Join()}));
  REQUIRE(responses.size() == 1);
  CHECK(responses[0].error.ok());
  CHECK(responses[0].number == 0);
  CHECK(responses[0].absent.empty());
  CHECK(responses[0].slot == kNoSlot);
}

TEST_CASE("what the others offer runs without who has joined", "[coordinator]") {
  CoordinatorJob job(3);
  CHECK(job.Answer(0, Full({Allreduce("before")})).empty());
  CHECK(job.Answer(2, Full({Allreduce("before")})).empty());
  // The join completes what only waited for this rank.
  const auto waited = job.Answer(1, Full({Join()}));
  REQUIRE(waited.size() == 1);
  CHECK(waited[0].name == "before");
  CHECK(waited[0].absent == std::vector<int>{1});
  REQUIRE(waited[0].request != nullptr);
  CHECK(*waited[0].request == Allreduce("before"));
  CHECK(waited[0].slot == kNoSlot);
  CHECK(job.Answer(0, Full({Allreduce("after")})).empty());
  CHECK(job.Answer(2, Full({Allreduce("after")}))[0].absent == std::vector<int>{1});
}

TEST_CASE("a rank that joins still runs what it has offered", "[coordinator]") {
  CoordinatorJob job(2);
  CHECK(job.Answer(1, Full({Allreduce("x")})).empty());
  CHECK(job.Answer(1, Full({Join()})).empty());
  const auto responses = job.Answer(0, Full({Allreduce("x")}));
  REQUIRE(responses.size() == 1);
  CHECK(responses[0].absent.empty());
}

TEST_CASE("slots outlive a join", "[coordinator]") {
  CoordinatorJob job(2);
  REQUIRE(job.AnswerAll(Full({Allreduce("x")}))[0].slot == 0);
  CHECK(job.Answer(1, Full({Join()})).empty());
  const auto alone = job.Answer(0, Bits({0}));
  REQUIRE(alone.size() == 1);
  CHECK_FALSE(IsCached(alone[0]));
  CHECK(alone[0].absent == std::vector<int>{1});
  REQUIRE(job.Answer(0, Full({Join()})).size() == 1);
  const auto both = job.AnswerAll(Bits({0}));
  REQUIRE(both.size() == 1);
  CHECK(IsCached(both[0]));
}

TEST_CASE("who joins the set of all ranks is absent from every set", "[coordinator]") {
  CoordinatorJob job(3);
  REQUIRE(job->AddProcessSet(1, {0, 1}).ok());
  CHECK(job.Answer(1, Full({Join()})).empty());
  CHECK(job.Answer(0, Full({InSet(Allreduce("x"), 1)}))[0].absent == std::vector<int>{1});
}

TEST_CASE("who joins a set is waited for in the others", "[coordinator]") {
  CoordinatorJob job(3);
  REQUIRE(job->AddProcessSet(1, {0, 1}).ok());
  CHECK(job.Answer(1, Full({Join(1)})).empty());
  CHECK(job.Answer(0, Full({InSet(Allreduce("x"), 1)}))[0].absent == std::vector<int>{1});
  CHECK(job.Answer(0, Full({Allreduce("x")})).empty());
  CHECK(job.Answer(2, Full({Allreduce("x")})).empty());
  CHECK(job.Answer(1, Full({Allreduce("x")}))[0].absent.empty());
  CHECK(job.Answer(0, Full({Join(1)}))[0].number == 0);
}

TEST_CASE("a root that has joined has nothing to give", "[coordinator]") {
  CoordinatorJob job(2);
  CHECK(job.Answer(1, Full({Join()})).empty());
  const auto responses = job.Answer(0, Full({Broadcast("x", 1)}));
  CHECK(responses[0].error.code() == StatusCode::kInvalidArgument);
  CHECK(Words(responses) ==
        "broadcast 'x' has the root rank 1, which has joined: it is out of data. Pass a root rank "
        "that has not.");
  // The job goes on.
  CHECK(job.Answer(0, Full({Broadcast("x", 0)}))[0].error.ok());
}

TEST_CASE("a join is no stall, and who has joined causes none", "[coordinator]") {
  CoordinatorOptions options;
  options.stall_shutdown = seconds(20);
  CoordinatorJob job(3, options);
  CHECK(job.Answer(1, Full({Join()})).empty());
  CHECK(job.Answer(0, Full({Allreduce("x")})).empty());
  job.Advance(seconds(15));
  const std::vector<Stall> stalls = job->TakeStalls(job.now());
  REQUIRE(stalls.size() == 1);
  CHECK(stalls[0].name == "x");
  CHECK(stalls[0].missing_ranks == std::vector<int>{2});
  job.Advance(seconds(15));
  const auto responses = job.Decide();
  REQUIRE(responses.size() == 1);
  CHECK(responses[0].error.code() == StatusCode::kStalled);
  CHECK_THAT(Words(responses), Catch::Contains("rank 2") && !Catch::Contains("rank 1"));
}

TEST_CASE("a set is not joined beside a member that has joined them all", "[coordinator]") {
  const bool set_first = GENERATE(false, true);
  CoordinatorJob job(3);
  REQUIRE(job->AddProcessSet(1, {0, 2}).ok());
  const auto first = set_first ? job.Answer(0, Full({Join(1)})) : job.Answer(2, Full({Join()}));
  CHECK(first.empty());
  const auto told = set_first ? job.Answer(2, Full({Join()})) : job.Answer(0, Full({Join(1)}));
  REQUIRE(told.size() == 1);
  CHECK(told[0].only_rank == 0);
  CHECK(told[0].error.code() == StatusCode::kInvalidArgument);
  CHECK_THAT(Words(told), Catch::Contains("rank 2, which has joined the set of all ranks"));
  // Rank 0 is there again.
  CHECK(job.Answer(2, Full({})).empty());
  CHECK(job.Answer(0, Full({InSet(Allreduce("x"), 1)}))[0].absent == std::vector<int>{2});
  CHECK(job.Answer(0, Full({Join()})).empty());
  CHECK(job.Answer(1, Full({Join()}))[0].number == 1);
}

TEST_CASE("a departure ends a join, and the others are there again", "[coordinator]") {
  CoordinatorJob job(3);
  REQUIRE(job->AddProcessSet(1, {0, 1}).ok());
  CHECK(job.Answer(1, Full({Join()})).empty());
  const auto left = job.Answer(2, Leaving("done"));
  REQUIRE(left.size() == 1);
  CHECK(left[0].error.code() == StatusCode::kPeerLeft);
  CHECK(left[0].only_rank == 1);
  CHECK(job.Answer(0, Full({InSet(Allreduce("x"), 1)})).empty());
  CHECK(job.Answer(1, Full({InSet(Allreduce("x"), 1)}))[0].absent.empty());
}

}  // namespace
}  // namespace rueda::control
