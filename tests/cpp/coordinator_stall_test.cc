// What the coordinator says of requests that stay withheld, and of how it went on with them.
#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "coordinator_job.h"

namespace rueda::control {
namespace {

using std::chrono::seconds;

std::vector<std::string> NamesOf(const std::vector<Stall>& stalls) {
  std::vector<std::string> names;
  for (const Stall& stall : stalls) names.push_back(stall.name);
  return names;
}

TEST_CASE("open stalls are those that were told of or soon will be", "[coordinator]") {
  CoordinatorJob job(3);
  REQUIRE(job.Absorb(0, Full({Allreduce("a")})).ok());
  REQUIRE(job.Absorb(0, Full({Allreduce("b")})).ok());
  job.Advance(seconds(6));
  REQUIRE(job.Absorb(0, Full({Allreduce("c")})).ok());
  CHECK(job->stall_tally() == StallTally{});
  job.Advance(seconds(4));
  CHECK(job->TakeStalls(job.now()).size() == 2);
  CHECK(job->stall_tally() == StallTally{2, 0, 0});
  CHECK(NamesOf(job->OpenStalls(job.now())) == std::vector<std::string>{"a", "b"});
  job.Advance(seconds(6));
  const std::vector<Stall> open = job->OpenStalls(job.now());
  CHECK(NamesOf(open) == std::vector<std::string>{"a", "b", "c"});
  CHECK(open[0].age == seconds(16));
  CHECK(open[0].missing_ranks == std::vector<int>{1, 2});
  CHECK(NamesOf(job->TakeStalls(job.now())) == std::vector<std::string>{"c"});
  // One of the missing ranks comes: it is not missing any more, and the stall is still one.
  REQUIRE(job.Absorb(2, Full({Allreduce("a")})).ok());
  CHECK(job->OpenStalls(job.now())[0].missing_ranks == std::vector<int>{1});
  CHECK(job->stall_tally() == StallTally{3, 0, 0});
  CHECK(job.Answer(1, Full({Allreduce("a")})).size() == 1);
  CHECK(job->stall_tally() == StallTally{2, 1, 0});
}

TEST_CASE("a stall that a leave or the limit ends has failed", "[coordinator]") {
  CoordinatorOptions options;
  options.stall_shutdown = seconds(30);
  CoordinatorJob job(3, options);
  REQUIRE(job.Absorb(0, Full({Allreduce("a")})).ok());
  CHECK(job->next_give_up() == job.now() + seconds(30));
  CHECK(job->missing_at_give_up() == std::vector<int>{1, 2});
  job.Advance(seconds(15));
  CHECK(job->TakeStalls(job.now()).size() == 1);
  job.Advance(seconds(15));
  CHECK(job.Decide().size() == 1);
  CHECK(job->stall_tally() == StallTally{0, 0, 1});
  CHECK(job->next_give_up() == kNever);
  CHECK(job->missing_at_give_up().empty());

  REQUIRE(job.Absorb(0, Full({Allreduce("b")})).ok());
  job.Advance(seconds(15));
  CHECK(job->TakeStalls(job.now()).size() == 1);
  CHECK(job.Answer(2, Leaving("")).size() == 1);
  CHECK(job->stall_tally() == StallTally{0, 0, 2});
}

TEST_CASE("a stall that a join ends has gone on", "[coordinator]") {
  CoordinatorJob job(2);
  REQUIRE(job.Absorb(0, Full({Allreduce("a")})).ok());
  job.Advance(seconds(15));
  CHECK(job->TakeStalls(job.now()).size() == 1);
  CHECK(job.Answer(1, Full({Join()})).size() == 1);
  CHECK(job->stall_tally() == StallTally{0, 1, 0});
}

TEST_CASE("the errors of what is given up say what the missing ranks do", "[coordinator]") {
  CoordinatorOptions options;
  options.stall_shutdown = seconds(30);
  CoordinatorJob job(4, options);
  REQUIRE(job.Absorb(0, Full({Allreduce("x")})).ok());
  REQUIRE(job.Absorb(2, Full({Allreduce("x")})).ok());
  job->Account(0, "is of no interest");
  job->Account(1, "is somewhere");
  job->Account(1, "is stopped");
  job.Advance(seconds(30));
  const auto responses = job.Decide();
  REQUIRE(responses.size() == 2);
  CHECK(responses[0].error == responses[1].error);
  CHECK_THAT(Words(responses), Catch::Contains("did not offer it. Rank 1 is stopped. Look where"));
}

TEST_CASE("the tensors of a withheld group are told, as far as they are named", "[coordinator]") {
  CoordinatorJob job(2);
  Request group = Allreduce("g");
  for (const char* name : {"b", "c", "d", "e", "f"}) {
    group.tensors.push_back(Allreduce(name).tensors[0]);
  }
  job.AnswerAll(Full({group}));
  REQUIRE(job.Absorb(0, Bits({0})).ok());
  job.Advance(seconds(10));
  const std::vector<Stall> stalls = job->TakeStalls(job.now());
  REQUIRE(stalls.size() == 1);
  CHECK(stalls[0].tensor_count == 6);
  CHECK(stalls[0].tensors == std::vector<std::string>{"g", "b", "c", "d"});
}

}  // namespace
}  // namespace rueda::control
