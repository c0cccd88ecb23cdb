// RankState: how a rank's end reads in the memory that its peers map.
#include "transport/rank_state.h"

#include <catch2/catch.hpp>
#include <memory>
#include <string>

#include "status_text.h"

namespace rueda::transport {
namespace {

using Phase = RankState::Phase;

std::unique_ptr<RankState> Fresh() { return std::make_unique<RankState>(); }

TEST_CASE("zeroed memory is a running rank", "[rank_state]") {
  CHECK(Fresh()->phase() == Phase::kRunning);
}

TEST_CASE("a rank that left says so", "[rank_state]") {
  const auto state = Fresh();
  state->SetLeft();
  CHECK(state->phase() == Phase::kLeft);
}

TEST_CASE("an error is read as it was written", "[rank_state]") {
  const Status why = Status(StatusCode::kTimedOut, "allreduce 'w' ran too long").Blame(3);
  const auto state = Fresh();
  state->SetFailed(why);
  CHECK(state->phase() == Phase::kFailed);
  CHECK(state->failure() == why);
  const auto blameless = Fresh();
  blameless->SetFailed(Status(StatusCode::kSystem, ""));
  CHECK(blameless->failure() == Status(StatusCode::kSystem, ""));
}

TEST_CASE("a long error is cut, and never within a character", "[rank_state]") {
  const size_t before = GENERATE(1'020, 1'021, 1'022, 1'023, 1'024, 1'025);
  CAPTURE(before);
  // Two, three and four bytes a character.
  const std::string character = GENERATE("\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x92\x83");
  const std::string text = std::string(before, 'x') + character + character + "tail";
  const auto state = Fresh();
  state->SetFailed(Status(StatusCode::kPeerLost, text).Blame(1));
  const Status read = state->failure();
  CHECK(read.code() == StatusCode::kPeerLost);
  CHECK(read.blamed_rank() == 1);
  REQUIRE(read.message().size() <= 1'024);
  CHECK(read.message().size() + character.size() > 1'024);
  CHECK(text.starts_with(read.message()));
  // Whole characters only: what is left of the text starts with no continuation byte.
  const auto next = static_cast<uint8_t>(text[read.message().size()]);
  CHECK((next & 0xC0) != 0x80);
}

}  // namespace
}  // namespace rueda::transport
