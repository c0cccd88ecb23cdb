// Coordinator: ranks that leave, requests that are withheld, frames that would be too long.
#include <catch2/catch.hpp>

#include "control/coordinator.h"
#include "control/process_sets.h"
#include "coordinator_job.h"

namespace rueda::control {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_CASE("a rank that leaves fails what it has not offered, for each that has", "[coordinator]") {
  CoordinatorJob job(3);
  job.AnswerAll(Full({Allreduce("cached")}));
  REQUIRE(job.Absorb(0, Full({Allreduce("x")})).ok());
  REQUIRE(job.Absorb(2, Full({Allreduce("x")})).ok());
  REQUIRE(job.Absorb(2, Bits({0})).ok());
  const auto responses = job.Answer(1, Leaving("ValueError: bad batch"));
  REQUIRE(responses.size() == 3);
  CHECK(Words(responses) ==
        "rank 1 (pid 101 on hostb) left before offering allreduce 'x': ValueError: bad batch");
  CHECK(responses[0].error.code() == StatusCode::kPeerLeft);
  CHECK(responses[0].error.blamed_rank() == 1);
  CHECK(responses[0].only_rank == 0);
  CHECK(responses[1].only_rank == 2);
  CHECK(responses[2].name == "cached");
  CHECK(responses[2].only_rank == 2);
}

TEST_CASE("offers that count on a departed rank are answered at once", "[coordinator]") {
  CoordinatorJob job(3);
  job.AnswerAll(Full({Allreduce("cached")}));
  CHECK(job.Answer(1, Leaving("")).empty());
  const auto bit = job.Answer(0, Bits({0}));
  REQUIRE(bit.size() == 1);
  CHECK(bit[0].only_rank == 0);
  CHECK(bit[0].name == "cached");
  CHECK_THAT(Words(bit), Catch::Contains("left before offering allreduce 'cached': it shut down"));
  // Rank 0 has forgotten the slot, rank 2 has not.
  CHECK(job.Answer(0, Full({Allreduce("cached")}))[0].only_rank == 0);
  CHECK(job.Answer(2, Bits({0}))[0].only_rank == 2);
  CHECK(job.Answer(2, Full({Broadcast("new", 0)}))[0].error.code() == StatusCode::kPeerLeft);
}

TEST_CASE("a rank that leaves is acknowledged after what it still has to run", "[coordinator]") {
  CoordinatorJob job(2);
  job.AnswerAll(Full({Allreduce("cached")}));
  REQUIRE(job.Absorb(0, Full({Allreduce("x")})).ok());
  REQUIRE(job.Absorb(0, Bits({0})).ok());
  REQUIRE(job.Absorb(1, Bits({0})).ok());
  REQUIRE(job.Absorb(1, Leaving("done", Full({Allreduce("x")}))).ok());
  const std::optional<Frame> frame = job->Decide(job.now());
  REQUIRE(frame);
  REQUIRE(frame->responses.size() == 2);
  CHECK(frame->cached == BitSet{0});
  CHECK(frame->responses[0] == Agreed("x", 1));
  const Response& last = frame->responses[1];
  CHECK(last.name.empty());
  CHECK(last.only_rank == 1);
  CHECK(last.error.code() == StatusCode::kShutDown);
}

TEST_CASE("what not all had offered when a rank left is withdrawn", "[coordinator]") {
  CoordinatorJob job(3);
  REQUIRE(job.Absorb(0, Full({Allreduce("x")})).ok());
  const auto responses = job.Answer(1, Leaving("why", Full({Allreduce("x"), Allreduce("y")})));
  REQUIRE(responses.size() == 1);
  CHECK(responses[0].only_rank == 0);
  CHECK(responses[0].error.code() == StatusCode::kPeerLeft);
  CHECK(Words(responses) ==
        "rank 1 (pid 101 on hostb) left before all ranks had offered allreduce 'x': why");
  CHECK_THAT(Words(job.Answer(2, Full({Allreduce("y")}))),
             Catch::Contains("left before offering allreduce 'y': why"));
}

TEST_CASE("the rank that left first is the one to blame", "[coordinator]") {
  CoordinatorJob job(3);
  REQUIRE(job.Absorb(2, Leaving("first")).ok());
  REQUIRE(job.Absorb(1, Leaving("second")).ok());
  CHECK(job.Answer(0, Full({Allreduce("x")}))[0].error.blamed_rank() == 2);
}

TEST_CASE("process sets without the departed rank go on", "[coordinator]") {
  CoordinatorJob job(3);
  REQUIRE(job->AddProcessSet(1, {0, 2}).ok());
  REQUIRE(job.Absorb(1, Leaving("")).ok());
  Request request = Allreduce("x");
  request.process_set = 1;
  REQUIRE(job.Absorb(0, Full({request})).ok());
  CHECK(job.Answer(2, Full({request}))[0].slot == 0);
}

TEST_CASE("ranks of sets that nobody has left depend on the coordinator", "[coordinator]") {
  using Ranks = std::vector<int>;
  CoordinatorJob job(6);
  CHECK(job->Dependents() == Ranks{0, 1, 2, 3, 4, 5});
  REQUIRE(job->AddProcessSet(1, {1, 4}).ok());
  REQUIRE(job->AddProcessSet(2, {0, 5}).ok());
  REQUIRE(job.Absorb(0, Leaving("")).ok());
  CHECK(job->Dependents() == Ranks{1, 4});
  // A pair is made by its first message.
  Request request = Allreduce("x");
  request.process_set = PairOf(1, 3);
  REQUIRE(job.Absorb(3, Full({request})).ok());
  CHECK(job->Dependents() == Ranks{1, 3, 4});
  REQUIRE(job.Absorb(4, Leaving("")).ok());
  CHECK(job->Dependents() == Ranks{1, 3});
  REQUIRE(job.Absorb(3, Leaving("")).ok());
  CHECK(job->Dependents() == Ranks{});
}

TEST_CASE("the job is finished when every rank has left", "[coordinator]") {
  CoordinatorJob job(2);
  REQUIRE(job.Absorb(0, Leaving("")).ok());
  CHECK_FALSE(job->Finished());
  REQUIRE(job.Absorb(1, Leaving("")).ok());
  CHECK(job->Finished());
}

TEST_CASE("a very long reason is cut, so that every rank reads the same", "[coordinator]") {
  CoordinatorJob job(2);
  REQUIRE(job.Absorb(0, Full({Allreduce("x")})).ok());
  const auto responses = job.Answer(1, Leaving(std::string(size_t{1} << 20, 'r')));
  Frame frame;
  frame.responses = responses;
  const std::vector<uint8_t> bytes = Encode(frame);
  const Result<Frame> back = DecodeFrame(bytes.data(), bytes.size());
  REQUIRE(back.ok());
  CHECK(back->responses == responses);
}

TEST_CASE("a withheld request is reported once, after the limit", "[coordinator]") {
  CoordinatorJob job(3);
  CHECK(job->NextDeadline() == kNever);
  REQUIRE(job.Absorb(1, Full({Allreduce("x")})).ok());
  const TimePoint due = job.now() + seconds(10);
  CHECK(job->NextDeadline() == due);
  job.Advance(seconds(10) - milliseconds(1));
  CHECK(job->TakeStalls(job.now()).empty());
  job.Advance(milliseconds(1));
  const std::vector<Stall> stalls = job->TakeStalls(job.now());
  REQUIRE(stalls.size() == 1);
  CHECK(stalls[0].name == "x");
  CHECK(stalls[0].missing_ranks == std::vector<int>{0, 2});
  CHECK(stalls[0].age == seconds(10));
  job.Advance(seconds(100));
  CHECK(job->TakeStalls(job.now()).empty());
  CHECK(job->NextDeadline() == kNever);
}

TEST_CASE("a request that is withheld again is reported again", "[coordinator]") {
  CoordinatorJob job(2);
  job.AnswerAll(Full({Allreduce("x")}));
  for (int round = 0; round < 2; ++round) {
    REQUIRE(job.Absorb(0, Bits({0})).ok());
    job.Advance(seconds(11));
    CHECK(job->TakeStalls(job.now()).size() == 1);
    CHECK(job.Answer(1, Bits({0})) == std::vector<Response>{Cached(0)});
  }
}

TEST_CASE("stalls are reported oldest first, whatever completes between", "[coordinator]") {
  CoordinatorJob job(2);
  for (const char* name : {"a", "b", "c"}) {
    REQUIRE(job.Absorb(0, Full({Allreduce(name)})).ok());
    job.Advance(seconds(4));
  }
  CHECK(job.Answer(1, Full({Allreduce("b")})).size() == 1);
  CHECK(job->TakeStalls(job.now()).size() == 1);
  CHECK(job->NextDeadline() == job.now() + seconds(6));
  job.Advance(seconds(6));
  CHECK(job->TakeStalls(job.now())[0].name == "c");
}

TEST_CASE("past the shutdown limit those who offered are told who did not", "[coordinator]") {
  CoordinatorOptions options;
  options.stall_shutdown = seconds(30);
  CoordinatorJob job(4, options);
  REQUIRE(job.Absorb(0, Full({Allreduce("x")})).ok());
  REQUIRE(job.Absorb(2, Full({Allreduce("x")})).ok());
  job.Advance(seconds(29));
  CHECK(job->TakeStalls(job.now()).size() == 1);
  CHECK(job->NextDeadline() == job.now() + seconds(1));
  CHECK(job.Decide().empty());
  job.Advance(seconds(1));
  const auto responses = job.Decide();
  REQUIRE(responses.size() == 2);
  CHECK(responses[0].only_rank == 0);
  CHECK(responses[1].only_rank == 2);
  CHECK(responses[1].error.code() == StatusCode::kStalled);
  CHECK(responses[1].error.blamed_rank() == 1);
  CHECK_THAT(
      Words(responses),
      Catch::StartsWith("allreduce 'x' was given up after 30 s: rank 1 (pid 101 on hostb) and "
                        "rank 3 (pid 103 on hostd) did not offer it."));
  CHECK(job->NextDeadline() == kNever);
}

TEST_CASE("a stall limit of zero never warns, one without end never overflows", "[coordinator]") {
  CoordinatorOptions options;
  options.stall_warning = Duration::zero();
  CoordinatorJob silent(2, options);
  REQUIRE(silent.Absorb(0, Full({Allreduce("x")})).ok());
  CHECK(silent->NextDeadline() == kNever);
  options.stall_warning = Duration::max();
  CoordinatorJob patient(2, options);
  patient.Advance(seconds(1));
  REQUIRE(patient.Absorb(0, Full({Allreduce("x")})).ok());
  CHECK(patient->NextDeadline() == kNever);
}

TEST_CASE("while something is ready the deadline has passed", "[coordinator]") {
  CoordinatorJob job(1);
  REQUIRE(job.Absorb(0, Full({Allreduce("x")})).ok());
  CHECK(job->NextDeadline() == TimePoint{});
  CHECK(job.Decide().size() == 1);
  CHECK(job->NextDeadline() == kNever);
}

TEST_CASE("answers that would make a frame too long wait for the next one",
          "[coordinator][one-thread]") {
  CoordinatorJob job(2);
  constexpr size_t kOffers = 5000;
  Batch batch;
  for (size_t i = 0; i < kOffers; ++i)
    batch.requests.push_back(Shared(Allreduce(std::to_string(i))));
  REQUIRE(job.Absorb(0, batch).ok());
  REQUIRE(job.Absorb(1, Leaving(std::string(kMaxTextBytes, 'r'))).ok());
  size_t answered = 0;
  size_t frames = 0;
  while (const std::optional<Frame> frame = job->Decide(job.now())) {
    CHECK(Encode(*frame).size() <= kMaxMessageBytes);
    answered += frame->responses.size();
    CHECK(frame->number == ++frames);
    CHECK(job->NextDeadline() == (answered <= kOffers ? TimePoint{} : kNever));
  }
  CHECK(answered == kOffers + 1);  // and the acknowledgement
  CHECK(frames == 3);
}

TEST_CASE("a group whose answer fits no frame is refused", "[coordinator]") {
  CoordinatorJob job(64);
  Request group = Allgather("g", {1});
  group.tensors.resize(kMaxTensorsPerRequest, group.tensors[0]);
  const auto responses = job.AnswerAll(Full({group}));
  REQUIRE(responses.size() == 1);
  CHECK(responses[0].error.code() == StatusCode::kInvalidArgument);
  CHECK_THAT(Words(responses), Catch::Contains("Split the group"));
}

}  // namespace rueda::control
