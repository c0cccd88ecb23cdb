// Coordinator: process sets that ranks add and remove while others work.
#include <catch2/catch.hpp>

#include "control/coordinator.h"
#include "control/process_sets.h"
#include "coordinator_job.h"

namespace rueda::control {
namespace {

Request AddSet(std::vector<int64_t> ranks, int64_t placement = kPrivate) {
  Request request;
  request.kind = OpKind::kAddProcessSet;
  request.name = "add_process_set.0";
  request.parts = std::move(ranks);
  request.placement = placement;
  request.transient = true;
  return request;
}

Request RemoveSet(int64_t id) {
  Request request = AddSet({id});
  request.kind = OpKind::kRemoveProcessSet;
  request.name = "remove_process_set.0";
  return request;
}

TEST_CASE("a set that all ranks ask for gets the next number", "[coordinator]") {
  CoordinatorJob job(3);
  const auto responses = job.AnswerAll(Full({AddSet({2, 0})}));
  REQUIRE(responses.size() == 1);
  CHECK(responses[0].error.ok());
  CHECK(responses[0].number == 1);
  CHECK(job.AnswerAll(Full({AddSet({1, 2})}))[0].number == 2);
  // Members alone are waited for.
  CHECK(job.Answer(0, Full({InSet(Allreduce("x"), 1)})).empty());
  CHECK(job.Answer(2, Full({InSet(Allreduce("x"), 1)})).size() == 1);
}

TEST_CASE("where the members of a new set keep its memory is told to all", "[coordinator]") {
  CoordinatorJob job(3);
  CHECK(job.Answer(0, Full({AddSet({0, 2}, 4096)})).empty());
  CHECK(job.Answer(1, Full({AddSet({0, 2})})).empty());
  const auto responses = job.Answer(2, Full({AddSet({0, 2}, 8192)}));
  CHECK(responses[0].placements == std::vector<int64_t>{4096, kPrivate, 8192});
  Frame frame;
  frame.responses = responses;
  const std::vector<uint8_t> bytes = Encode(frame);
  CHECK(DecodeFrame(bytes.data(), bytes.size()).value() == frame);
}

TEST_CASE("a set that cannot be is refused on every rank", "[coordinator]") {
  CoordinatorJob job(3);
  REQUIRE(job.AnswerAll(Full({AddSet({0, 1})}))[0].number == 1);
  const auto told = [&](const Request& request) {
    const auto responses = job.AnswerAll(Full({request}));
    REQUIRE(responses.size() == 1);
    CHECK(responses[0].error.code() == StatusCode::kInvalidArgument);
    CHECK(responses[0].only_rank == -1);
    return Words(responses);
  };
  CHECK_THAT(told(AddSet({1, 0})), Catch::Contains("process set 1 already has these ranks"));
  CHECK_THAT(told(AddSet({0, 1, 2})), Catch::Contains("process set 0 already has all ranks"));
  CHECK_THAT(told(AddSet({0, 3})), Catch::Contains("a rank that does not exist"));
  CHECK_THAT(told(AddSet({0, 0})), Catch::Contains("twice"));
  CHECK_THAT(told(AddSet({})), Catch::Contains("has no ranks"));
  CHECK_THAT(told(RemoveSet(0)), Catch::Contains("cannot be removed"));
  CHECK_THAT(told(RemoveSet(7)), Catch::Contains("process set 7 does not exist"));
  CHECK(job.AnswerAll(Full({AddSet({1, 2})}))[0].number == 2);
}

TEST_CASE("ranks that ask for different sets are told so", "[coordinator]") {
  CoordinatorJob job(3);
  CHECK(job.Answer(0, Full({AddSet({0, 1})})).empty());
  CHECK(job.Answer(1, Full({AddSet({0, 1})})).empty());
  const auto responses = job.Answer(2, Full({AddSet({0, 2})}));
  CHECK(responses[0].error.code() == StatusCode::kMismatch);
  CHECK_THAT(Words(responses), Catch::Contains("ranks of add_process_set") &&
                                   Catch::Contains("[0, 2]") && Catch::Contains("[0, 1]"));
}

TEST_CASE("numbers are not given twice", "[coordinator]") {
  CoordinatorJob job(2);
  for (int64_t id = 1; id < 200; ++id) {
    REQUIRE(job.AnswerAll(Full({AddSet({1})}))[0].number == id);
    REQUIRE(job.AnswerAll(Full({RemoveSet(id)}))[0].error.ok());
  }
}

TEST_CASE("what was on its way in a set is withdrawn when the set goes", "[coordinator]") {
  CoordinatorJob job(3);
  REQUIRE(job.AnswerAll(Full({AddSet({0, 1})}))[0].number == 1);
  const Request cached = InSet(Allreduce("cached"), 1);
  CHECK(job.Answer(0, Full({cached})).empty());
  REQUIRE(job.Answer(1, Full({cached}))[0].slot == 0);
  CHECK(job.Answer(0, Full({InSet(Allreduce("x"), 1)})).empty());
  CHECK(job.Answer(1, Bits({0})).empty());
  const auto responses = job.AnswerAll(Full({RemoveSet(1)}));
  REQUIRE(responses.size() == 3);
  for (const Response& response : responses) {
    if (response.error.ok()) continue;
    CHECK_THAT(response.error.message(), Catch::Contains("process set 1 was removed"));
    CHECK(response.only_rank == (response.name == "x" ? 0 : 1));
  }
  // The slot is free, the name unknown.
  CHECK(job.AnswerAll(Full({Allreduce("next")}))[0].slot == 0);
  CHECK_THAT(Words(job.Answer(0, Full({cached}))), Catch::Contains("does not exist"));
}

TEST_CASE("sets do not change while somebody has joined", "[coordinator]") {
  CoordinatorJob job(2);
  CHECK(job.Answer(1, Full({Join()})).empty());
  const auto responses = job.Answer(0, Full({AddSet({0})}));
  REQUIRE(responses.size() == 1);
  CHECK(responses[0].error.code() == StatusCode::kInvalidArgument);
  CHECK_THAT(Words(responses), Catch::Contains("needs every rank, but rank 1 has joined"));
}

TEST_CASE("two ranks are a set without asking", "[coordinator]") {
  CoordinatorJob job(4);
  const uint32_t pair = PairOf(3, 1);
  CHECK(pair == PairOf(1, 3));
  CHECK(job.Answer(3, Full({InSet(Broadcast("x", 3), pair)})).empty());
  const auto responses = job.Answer(1, Full({InSet(Broadcast("x", 3), pair)}));
  REQUIRE(responses.size() == 1);
  CHECK(responses[0].error.ok());
  CHECK_THAT(Words(job.Answer(0, Full({InSet(Broadcast("x", 1), pair)}))),
             Catch::Contains("which rank 0 is not in"));
  for (const uint32_t nobody : {PairOf(2, 2), PairOf(1, 9), uint32_t{77}}) {
    CHECK_THAT(Words(job.Answer(0, Full({InSet(Broadcast("x", 1), nobody)}))),
               Catch::Contains("does not exist"));
  }
}

TEST_CASE("who has left is missed by a pair that is met later", "[coordinator]") {
  CoordinatorJob job(3);
  CHECK(job.Answer(2, Leaving("done")).empty());
  const auto responses = job.Answer(1, Full({InSet(Broadcast("x", 1), PairOf(1, 2))}));
  REQUIRE(responses.size() == 1);
  CHECK(responses[0].error.code() == StatusCode::kPeerLeft);
  CHECK(responses[0].error.blamed_rank() == 2);
}

}  // namespace
}  // namespace rueda::control
