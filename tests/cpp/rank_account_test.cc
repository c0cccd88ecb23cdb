// Questions and answers of the stall report as bytes: whole, bounded, and refused when damaged.
#include "control/rank_account.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "status_text.h"

namespace rueda::control {
namespace {

RankFacts Sample() {
  RankFacts facts;
  facts.finished = 41;
  facts.last = "allreduce 'x'";
  facts.last_ago = std::chrono::seconds(3);
  facts.running = "broadcast 'y'";
  facts.running_for = std::chrono::milliseconds(20);
  facts.waits_for = {0, 3};
  facts.in_flight = {"allgather 'z'"};
  facts.in_flight_count = 9;
  facts.main_thread = 'R';
  facts.leaving = true;
  facts.program_follows = true;
  return facts;
}

std::vector<StallMessage> Samples() {
  return {StallQuestion{7}, FactsAnswer{8, Sample()}, FactsAnswer{9, {}},
          ProgramAnswer{10, "is in f (x.py:1)\nx.py:1 in f"}, ProgramAnswer{11, ""}};
}

TEST_CASE("stall messages come back as they were", "[stall]") {
  for (const StallMessage& message : Samples()) {
    const Result<StallMessage> back = DecodeStallMessage(EncodeStallMessage(message));
    REQUIRE(back.status() == Status());
    CHECK(*back == message);
  }
}

TEST_CASE("long texts and lists of a stall message are cut to what an aside holds", "[stall]") {
  RankFacts facts = Sample();
  facts.last = facts.running = std::string(100'000, 'x');
  facts.in_flight.assign(1000, std::string(100'000, 'y'));
  facts.waits_for.assign(1000, 1);
  const std::vector<uint8_t> bytes = EncodeStallMessage(FactsAnswer{1, facts});
  CHECK(bytes.size() < 8192);
  const Result<StallMessage> back = DecodeStallMessage(bytes);
  REQUIRE(back.status() == Status());
  const RankFacts& read = std::get<FactsAnswer>(*back).facts;
  CHECK(read.last.size() == kMaxFactBytes);
  CHECK(read.in_flight.size() == kMaxFactsInFlight);
  CHECK(read.waits_for.size() == kMaxWaitsFor);
  const auto program = EncodeStallMessage(ProgramAnswer{1, std::string(100'000, 'p')});
  CHECK(program.size() < 16384);
  CHECK(DecodeStallMessage(program).ok());
}

TEST_CASE("a damaged stall message is refused, whatever is damaged", "[stall]") {
  for (const StallMessage& message : Samples()) {
    const std::vector<uint8_t> whole = EncodeStallMessage(message);
    for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
      const Result<StallMessage> cut = DecodeStallMessage(std::span(whole).first(bytes));
      CHECK(cut.status().code() == StatusCode::kCorrupt);
    }
    std::vector<uint8_t> longer = whole;
    longer.push_back(0);
    CHECK(DecodeStallMessage(longer).status().code() == StatusCode::kCorrupt);
  }
  CHECK(DecodeStallMessage(std::vector<uint8_t>{9, 0, 0, 0, 0}).status().code() ==
        StatusCode::kCorrupt);
  // A text that claims four thousand million bytes.
  CHECK(
      DecodeStallMessage(std::vector<uint8_t>{3, 1, 0, 0, 0, 255, 255, 255, 255}).status().code() ==
      StatusCode::kCorrupt);
}

TEST_CASE("random bytes never read past their end", "[stall]") {
  std::mt19937 random(4);
  int parsed = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::vector<uint8_t> bytes(random() % 64);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    if (!bytes.empty()) bytes[0] = static_cast<uint8_t>(1 + random() % 3);
    const Result<StallMessage> message = DecodeStallMessage(bytes);
    if (message.ok()) ++parsed;
    if (!message.ok()) CHECK(message.status().code() == StatusCode::kCorrupt);
  }
  CHECK(parsed > 0);  // questions of the right length
}

}  // namespace
}  // namespace rueda::control
