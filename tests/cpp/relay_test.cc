// Relay: what it passes up, when, and that the coordinator answers as if there were none.
#include "control/relay.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "control/coordinator.h"
#include "control_samples.h"

namespace rueda::control {
namespace {

using std::chrono::microseconds;

constexpr Duration kPatience = microseconds(100);

TimePoint At(int64_t us) { return TimePoint{} + microseconds(us); }

Share Bits(BitSet ranks, BitSet slots) {
  Share share{std::move(ranks), {}};
  share.batch.slots = std::move(slots);
  return share;
}
Share Full(BitSet ranks, std::vector<Request> requests) {
  Share share{std::move(ranks), {}};
  share.batch.requests = Shared(std::move(requests));
  return share;
}
Frame CachedFrame(BitSet slots) {
  Frame frame;
  frame.cached = std::move(slots);
  return frame;
}
Frame FullFrame(std::vector<Response> responses) {
  Frame frame;
  frame.responses = std::move(responses);
  return frame;
}

Response InSet(Response response, uint32_t process_set) {
  response.process_set = process_set;
  return response;
}

// A relay of two children that has seen both of them offer "x" and "y" once: slots 0 and 1.
Relay Trained() {
  Relay relay(2, kPatience);
  relay.Absorb(0, {Full({1}, {Allreduce("x"), Allreduce("y")})}, At(0));
  relay.Absorb(1, {Full({2, 3}, {Allreduce("x"), Allreduce("y")})}, At(0));
  REQUIRE(relay.Forward(At(0)).size() == 1);
  relay.Answered(FullFrame({Agreed("x", 0), Agreed("y", 1)}));
  return relay;
}

}  // namespace

TEST_CASE("equal offers of all children go up as one share", "[relay]") {
  Relay relay(2, kPatience);
  CHECK(relay.Forward(At(0)).empty());
  CHECK(relay.NextDeadline() == kNever);
  relay.Absorb(0, {Full({1}, {Allreduce("x"), Allreduce("y")})}, At(0));
  CHECK(relay.Forward(At(0)).empty());
  CHECK(relay.NextDeadline() == At(100));
  relay.Absorb(1, {Full({2, 3}, {Allreduce("y"), Allreduce("x")})}, At(1));
  CHECK(relay.Forward(At(1)) == Shares{Full({1, 2, 3}, {Allreduce("x"), Allreduce("y")})});
  CHECK(relay.NextDeadline() == kNever);
}

TEST_CASE("what some ranks alone offer goes up at once until it has a slot", "[relay]") {
  Relay relay(2, kPatience);
  const Request request = InSet(Allreduce("x"), 1);
  relay.Absorb(0, {Full({1}, {request})}, At(0));
  CHECK(relay.Forward(At(0)) == Shares{Full({1}, {request})});
  relay.Absorb(1, {Full({2, 3}, {request})}, At(1));
  CHECK(relay.Forward(At(1)) == Shares{Full({2, 3}, {request})});
  relay.Answered(FullFrame({InSet(Agreed("x", 0), 1)}));
  relay.Absorb(0, {Bits({1}, {0})}, At(2));
  CHECK(relay.Forward(At(2)).empty());
  relay.Absorb(1, {Bits({2, 3}, {0})}, At(3));
  CHECK(relay.Forward(At(3)) == Shares{Bits({1, 2, 3}, {0})});
}

TEST_CASE("different requests of one name stay apart", "[relay]") {
  Relay relay(2, kPatience);
  relay.Absorb(0, {Full({1}, {Allreduce("x", {3})})}, At(0));
  relay.Absorb(1, {Full({2}, {Allreduce("x", {4})})}, At(0));
  CHECK(relay.Forward(At(0)) ==
        Shares{Full({1}, {Allreduce("x", {3})}), Full({2}, {Allreduce("x", {4})})});
}

TEST_CASE("a slot goes up when every child has offered it that did the last time", "[relay]") {
  Relay relay = Trained();
  relay.Absorb(0, {Bits({1}, {0, 1})}, At(10));
  CHECK(relay.Forward(At(10)).empty());
  relay.Absorb(1, {Bits({2, 3}, {1})}, At(11));
  CHECK(relay.Forward(At(11)) == Shares{Bits({1, 2, 3}, {1})});
  relay.Absorb(1, {Bits({2, 3}, {0})}, At(12));
  CHECK(relay.Forward(At(12)) == Shares{Bits({1, 2, 3}, {0})});
}

TEST_CASE("who is late is waited for only so long, and not at all the next time", "[relay]") {
  Relay relay = Trained();
  relay.Absorb(0, {Bits({1}, {0})}, At(10));
  CHECK(relay.Forward(At(109)).empty());
  CHECK(relay.NextDeadline() == At(110));
  CHECK(relay.Forward(At(110)) == Shares{Bits({1}, {0})});
  // The other one's part comes late and alone.
  relay.Absorb(1, {Bits({2, 3}, {0})}, At(200));
  CHECK(relay.Forward(At(200)) == Shares{Bits({2, 3}, {0})});
  relay.Answered(CachedFrame({0}));
  // Both took part in the end: both are waited for again.
  relay.Absorb(1, {Bits({2, 3}, {0})}, At(300));
  CHECK(relay.Forward(At(300)).empty());
  CHECK(relay.Forward(At(400)) == Shares{Bits({2, 3}, {0})});
  relay.Answered(CachedFrame({0}));
  relay.Absorb(1, {Bits({2, 3}, {0})}, At(500));
  CHECK(relay.Forward(At(500)) == Shares{Bits({2, 3}, {0})});
}

TEST_CASE("a join takes all before it along, and nothing waits until it is answered", "[relay]") {
  Relay relay = Trained();
  relay.Absorb(0, {Bits({1}, {0})}, At(10));
  relay.Absorb(0, {Full({1}, {Join()})}, At(11));
  Share both = Bits({1}, {0});
  both.batch.requests = {Shared(Join())};
  CHECK(relay.Forward(At(11)) == Shares{both});
  relay.Absorb(1, {Bits({2, 3}, {1})}, At(12));
  CHECK(relay.Forward(At(12)) == Shares{Bits({2, 3}, {1})});
  relay.Absorb(1, {Full({2, 3}, {Join()})}, At(13));
  CHECK(relay.Forward(At(13)) == Shares{Full({2, 3}, {Join()})});
  relay.Answered(FullFrame({Agreed("join")}));
  relay.Absorb(0, {Bits({1}, {0})}, At(20));
  CHECK(relay.Forward(At(20)).empty());
}

TEST_CASE("last words go up at once, behind what was offered before", "[relay]") {
  Relay relay = Trained();
  Share last = Bits({1}, {0});
  last.batch.leave_reason = "done";
  relay.Absorb(0, {last}, At(10));
  Share words{{1}, {}};
  words.batch.leave_reason = "done";
  CHECK(relay.Forward(At(10)) == Shares{Bits({1}, {0}), words});
}

TEST_CASE("what a relay gathers survives the wire, and damage does not", "[relay][wire]") {
  Share last = Full({0, 4095}, {Allreduce("x")});
  last.batch.leave_reason = "done";
  const Shares shares{Bits({1, 2, 3}, {0, 5, 70}), last};
  std::vector<uint8_t> bytes = Encode(shares);
  const Result<Shares> back = DecodeShares(bytes);
  REQUIRE(back.ok());
  CHECK(*back == shares);
  for (size_t length = 0; length < bytes.size(); ++length) {
    CHECK_FALSE(DecodeShares(std::span(bytes).first(length)).ok());
  }
  CHECK_FALSE(DecodeShares(Encode(Shares{Bits({}, {1})})).ok());
  bytes.push_back(0);
  CHECK_FALSE(DecodeShares(bytes).ok());
}

TEST_CASE("shares are worth what their ranks' batches are", "[relay][coordinator]") {
  constexpr int kRanks = 6;
  const std::vector<Request> requests{Allreduce("x"), Allreduce("y"), Allgather("z", {2, 3})};
  Coordinator apart(TopologyOf(kRanks), {});
  Coordinator together(TopologyOf(kRanks), {});
  const auto absorb = [&](BitSet ranks, const Batch& batch) {
    ranks.ForEach(
        [&](size_t rank) { REQUIRE(apart.Absorb(static_cast<int>(rank), batch, At(0)).ok()); });
    REQUIRE(together.Absorb(ranks, batch, At(0)).ok());
  };
  const auto same_frames = [&] {
    const std::optional<Frame> a = apart.Decide(At(0));
    const std::optional<Frame> b = together.Decide(At(0));
    return a == b ? a : std::nullopt;
  };
  absorb({0, 2, 4}, Full({}, requests).batch);
  absorb({1, 3, 5}, Full({}, requests).batch);
  REQUIRE(same_frames());
  absorb({0, 1, 2, 3, 4, 5}, Bits({}, {0, 1, 2}).batch);
  CHECK(same_frames()->cached == BitSet{0, 1, 2});
  // A change, a join and a departure in between.
  absorb({0, 1, 2}, Bits({}, {0, 1}).batch);
  absorb({3, 4}, Full({}, {Allreduce("x")}).batch);
  absorb({5}, Full({}, {Join()}).batch);
  REQUIRE(same_frames());
  absorb({3, 4}, Bits({}, {1}).batch);
  REQUIRE(same_frames());
  Batch last = Bits({}, {2}).batch;
  last.leave_reason = "done";
  absorb({1, 2}, Bits({}, {2}).batch);
  absorb({0}, last);
  REQUIRE(same_frames());
  CHECK(together.Dependents().empty());
}

}  // namespace rueda::control
