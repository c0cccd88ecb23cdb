// What a timeline is computed with: clock offsets, lanes, and the messages between the ranks.
#include <catch2/catch.hpp>
#include <cstdint>
#include <map>
#include <vector>

#include "control_samples.h"
#include "timeline/chunk.h"
#include "timeline/clock_offset.h"
#include "timeline/lanes.h"
#include "timeline/timeline_message.h"

namespace rueda::timeline {
namespace {

// An exchange with a clock that is `ahead` of ours: so long there, so long over there, so long
// back.
ClockExchange Exchange(int64_t asked, int64_t ahead, int64_t there, int64_t stay, int64_t back) {
  return {asked, asked + there + ahead, asked + there + stay + ahead, asked + there + stay + back};
}

TEST_CASE("a clock's offset is never further from the truth than its error says",
          "[timeline][clock]") {
  control::Random random(7);
  for (int round = 0; round < 500; ++round) {
    const int64_t ahead = static_cast<int64_t>(random.Below(1'000'000'000)) - 500'000'000;
    ClockOffset clock;
    for (int i = 0; i < 12; ++i) {
      const auto part = [&] { return static_cast<int64_t>(random.Below(200'000)); };
      clock.Add(Exchange(1'000'000'000 + i * 1'000'000, ahead, part(), part(), part()));
    }
    REQUIRE(clock.settled());
    CHECK(std::abs(clock.measured() + ahead) <= clock.error() + 1);
    CHECK(std::abs(clock.offset() + ahead) <= 2 * clock.error() + 2);
  }
}

TEST_CASE("the exchange with the shortest way decides", "[timeline][clock]") {
  ClockOffset clock;
  clock.Add(Exchange(1000, 700'000, 9000, 10, 100));
  clock.Add(Exchange(50'000, 700'000, 100, 5000, 100));
  clock.Add(Exchange(90'000, 700'000, 100, 10, 9000));
  CHECK(clock.measured() == -700'000);
  CHECK(clock.offset() == -700'000);
  CHECK(clock.error() == 100);
}

TEST_CASE("what is measured of the same clock counts as zero", "[timeline][clock]") {
  ClockOffset clock;
  CHECK_FALSE(clock.known());
  CHECK(clock.offset() == 0);
  clock.Add(Exchange(1000, 0, 40'000, 10, 2000));
  CHECK(clock.measured() == -19'000);
  CHECK(clock.offset() == 0);
}

TEST_CASE("exchanges older than eight are forgotten, so that a drifting clock is followed",
          "[timeline][clock]") {
  ClockOffset clock;
  clock.Add(Exchange(0, 1'000'000, 1, 1, 1));
  for (int i = 1; i <= 8; ++i) clock.Add(Exchange(i * 1000, 2'000'000, 50, 1, 50));
  CHECK(clock.measured() == -2'000'000);
}

TEST_CASE("an exchange that went back in time is not counted", "[timeline][clock]") {
  ClockOffset clock;
  clock.Add({100, 50, 90, 120});
  clock.Add({100, 90, 50, 120});
  CHECK_FALSE(clock.known());
}

TEST_CASE("spans of one lane never overlap, and lanes are as few as can be", "[timeline][lanes]") {
  control::Random random(11);
  Lanes lanes;
  std::map<size_t, int64_t> ends;
  size_t most = 0;
  std::vector<std::pair<int64_t, int64_t>> spans;
  // In order of their ends, as requests complete.
  int64_t now = 1000;
  for (int i = 0; i < 2000; ++i) {
    now += static_cast<int64_t>(random.Below(20));
    const int64_t begun = now - static_cast<int64_t>(random.Below(300));
    const size_t lane = lanes.Take(begun, now);
    if (ends.count(lane) > 0) REQUIRE(ends[lane] <= begun);
    for (size_t lower = 0; lower < lane; ++lower) REQUIRE(ends[lower] > begun);
    ends[lane] = now;
    most = std::max(most, lane + 1);
  }
  CHECK(lanes.size() == most);
}

TEST_CASE("requests one after another share a lane", "[timeline][lanes]") {
  Lanes lanes;
  for (int64_t i = 0; i < 100; ++i) CHECK(lanes.Take(i * 10, i * 10 + 10) == 0);
  CHECK(lanes.size() == 1);
  CHECK(lanes.Take(985, 1005) == 1);
}

template <typename Message>
Message RoundTrip(const Message& message) {
  auto decoded = DecodeTimelineMessage(Encode(message));
  REQUIRE(decoded.ok());
  return std::get<Message>(*decoded);
}

TEST_CASE("messages about a timeline come back as they were sent", "[timeline][wire]") {
  const auto start = RoundTrip(StartMessage{7, true});
  CHECK((start.session == 7 && start.mark_frames));
  CHECK(RoundTrip(StopMessage{8}).session == 8);
  CHECK(RoundTrip(AskTimeMessage{123}).asked == 123);
  const ClockExchange told = RoundTrip(TellTimeMessage{{1, 2, 3, 0}}).exchange;
  CHECK((told.asked == 1 && told.heard == 2 && told.answered == 3));
  const auto spans = RoundTrip(SpansMessage{9, {1, 2, 3}});
  CHECK((spans.session == 9 && spans.chunk == std::vector<uint8_t>{1, 2, 3}));
  const auto end = RoundTrip(EndMessage{10, uint64_t{1} << 40});
  CHECK((end.session == 10 && end.dropped == uint64_t{1} << 40));
}

TEST_CASE("damaged messages about a timeline are refused or mean what they say",
          "[timeline][wire]") {
  control::Random random(3);
  const std::vector<TimelineMessage> messages = {StartMessage{1, true}, StopMessage{1},
                                                 AskTimeMessage{5}, TellTimeMessage{{1, 2, 3}},
                                                 EndMessage{1, 2}};
  for (const TimelineMessage& message : messages) {
    const std::vector<uint8_t> good = Encode(message);
    for (size_t length = 0; length < good.size(); ++length) {
      CHECK_FALSE(DecodeTimelineMessage({good.data(), length}).ok());
    }
    for (int i = 0; i < 200; ++i) {
      std::vector<uint8_t> bad = good;
      bad[random.Below(bad.size())] ^= static_cast<uint8_t>(1U << random.Below(8));
      const auto decoded = DecodeTimelineMessage(bad);
      if (decoded.ok() && !std::holds_alternative<SpansMessage>(*decoded)) {
        CHECK(Encode(*decoded) == bad);
      }
    }
  }
  CHECK_FALSE(
      DecodeTimelineMessage(Encode(SpansMessage{1, std::vector<uint8_t>(kMaxChunkBytes + 1)}))
          .ok());
}

}  // namespace
}  // namespace rueda::timeline
