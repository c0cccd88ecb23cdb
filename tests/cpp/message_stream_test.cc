// MessageStream: whole messages through channels of any size, partial arrivals, limits, the end.
#include "transport/message_stream.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "channel_streams.h"
#include "deadline.h"
#include "status_text.h"
#include "transport/loopback_channel.h"

namespace rueda::transport {
namespace {

using testing::ByteAt;
using testing::Deadline;

constexpr size_t kLimit = size_t{4} << 20;

struct Streams {
  MessageStream first, second;
};

Streams MakeStreams(size_t capacity, size_t limit = kLimit) {
  auto [first, second] = MakeLoopbackLink(
      capacity, [] {}, [] {});
  return {{std::move(first), limit}, {std::move(second), limit}};
}

std::vector<uint8_t> PayloadOf(size_t bytes, uint8_t salt) {
  std::vector<uint8_t> payload(bytes);
  for (size_t i = 0; i < bytes; ++i) payload[i] = ByteAt(i, salt);
  return payload;
}

// "" if it is the message that PayloadOf made.
std::string WrongIn(const Message& message, size_t bytes, uint8_t type) {
  if (message.type != type) return "type " + std::to_string(message.type);
  if (message.payload.size() != bytes) return std::to_string(message.payload.size()) + " bytes";
  for (size_t i = 0; i < bytes; ++i) {
    if (message.payload[i] != ByteAt(i, type)) return "byte " + std::to_string(i);
  }
  return "";
}

std::vector<uint8_t> Encoded(uint8_t type, const std::vector<uint8_t>& payload) {
  std::vector<uint8_t> bytes;
  for (int shift = 0; shift < 32; shift += 8) {
    bytes.push_back(static_cast<uint8_t>(payload.size() >> shift));
  }
  bytes.push_back(type);
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

TEST_CASE("messages of any size pass through channels of any size", "[message_stream]") {
  const Deadline deadline("messages of any size");
  const size_t capacity = GENERATE(3, 64, 4'096, 70'000);
  const size_t bytes = GENERATE(0, 1, 5, 4'091, 4'092, 65'537, 3'145'728);
  if (bytes / capacity > 100'000) return;
  CAPTURE(capacity, bytes);
  Streams streams = MakeStreams(capacity);
  const std::vector<uint8_t> payload = PayloadOf(bytes, 9);
  REQUIRE(streams.first.Send(9, payload) == Status());
  CHECK(streams.first.has_unsent() == (bytes + 5 > capacity));
  while (true) {
    auto message = streams.second.Receive();
    REQUIRE(message.status() == Status());
    if (message->has_value()) {
      CHECK(WrongIn(**message, bytes, 9) == "");
      break;
    }
    const Result<bool> moved = streams.first.Flush();
    REQUIRE(moved.status() == Status());
    REQUIRE(*moved);
  }
  CHECK_FALSE(streams.first.has_unsent());
  CHECK_FALSE(*streams.first.Flush());
  CHECK_FALSE(streams.second.Receive()->has_value());
}

TEST_CASE("queued messages keep their order, types and borders", "[message_stream]") {
  const Deadline deadline("many messages");
  constexpr size_t kMessages = 600;
  const auto bytes_of = [](size_t i) { return i * i % 977; };
  Streams streams = MakeStreams(1'500);
  for (size_t i = 0; i < kMessages; ++i) {
    const auto type = static_cast<uint8_t>(i);
    REQUIRE(streams.first.Send(type, PayloadOf(bytes_of(i), type)) == Status());
  }
  REQUIRE(streams.first.has_unsent());
  for (size_t received = 0; received < kMessages;) {
    auto message = streams.second.Receive();
    REQUIRE(message.status() == Status());
    if (message->has_value()) {
      INFO("message " << received);
      CHECK(WrongIn(**message, bytes_of(received), static_cast<uint8_t>(received)) == "");
      ++received;
    } else {
      REQUIRE(*streams.first.Flush());
    }
  }
}

TEST_CASE("a message is given out with its last byte and not before", "[message_stream]") {
  auto [raw, end] = MakeLoopbackLink(
      100, [] {}, [] {});
  MessageStream stream(std::move(end), kLimit);
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{7}, size_t{40}}) {
    const std::vector<uint8_t> encoded = Encoded(200, PayloadOf(bytes, 200));
    for (size_t i = 0; i < encoded.size(); ++i) {
      CHECK_FALSE(stream.Receive()->has_value());
      REQUIRE(*raw->Send(&encoded[i], 1) == 1);
    }
    auto message = stream.Receive();
    REQUIRE(message.status() == Status());
    REQUIRE(message->has_value());
    CHECK(WrongIn(**message, bytes, 200) == "");
  }
}

TEST_CASE("a message at the limit passes, one byte more is corrupt", "[message_stream]") {
  // Small ones arrive whole in one read, large ones show their length long before their end.
  const size_t limit = GENERATE(0, 10, 4'000, 100'000);
  CAPTURE(limit);
  for (const size_t bytes : {limit, limit + 1}) {
    Streams streams = MakeStreams(200'000, limit);
    const std::vector<uint8_t> payload = PayloadOf(bytes, 1);
    REQUIRE(streams.first.Send(1, payload) == Status());
    auto message = streams.second.Receive();
    CHECK(message.ok() == (bytes == limit));
    if (message.ok()) continue;
    CHECK(message.status().code() == StatusCode::kCorrupt);
    CHECK_THAT(message.status().message(),
               Catch::Contains(std::to_string(bytes)) && Catch::Contains(std::to_string(limit)));
    // Nothing behind it is read either.
    CHECK(streams.second.Receive().status().code() == StatusCode::kCorrupt);
  }
}

TEST_CASE("the length of a message that never comes costs no memory", "[message_stream]") {
  auto [raw, end] = MakeLoopbackLink(
      100, [] {}, [] {});
  MessageStream stream(std::move(end), kLimit);
  const std::vector<uint8_t> header{0xFF, 0xFF, 0xFF, 0xFF, 1};
  REQUIRE(*raw->Send(header.data(), header.size()) == header.size());
  CHECK(stream.Receive().status().code() == StatusCode::kCorrupt);
}

TEST_CASE("whole messages are read before a loss is told, halves are not", "[message_stream]") {
  auto [raw, end] = MakeLoopbackLink(
      100, [] {}, [] {});
  MessageStream stream(std::move(end), kLimit);
  std::vector<uint8_t> bytes = Encoded(1, PayloadOf(20, 1));
  const std::vector<uint8_t> half = Encoded(2, PayloadOf(20, 2));
  bytes.insert(bytes.end(), half.begin(), half.end() - 1);
  REQUIRE(*raw->Send(bytes.data(), bytes.size()) == bytes.size());
  raw->Close();
  CHECK(stream.Send(3, {}).code() == StatusCode::kPeerLost);
  auto message = stream.Receive();
  REQUIRE(message.status() == Status());
  REQUIRE(message->has_value());
  CHECK(WrongIn(**message, 20, 1) == "");
  CHECK(stream.Receive().status().code() == StatusCode::kPeerLost);
}

TEST_CASE("a held stream sends nothing until it has heard something", "[message_stream]") {
  Streams streams = MakeStreams(1'000);
  streams.first.HoldUntilHeard();
  REQUIRE(streams.first.Send(1, PayloadOf(3, 1)) == Status());
  CHECK_FALSE(*streams.first.Flush());
  CHECK(streams.first.has_unsent());
  CHECK_FALSE(streams.second.Receive()->has_value());

  REQUIRE(streams.second.Send(7, {}) == Status());
  auto hello = streams.first.Receive();
  REQUIRE((hello.ok() && hello->has_value()));
  CHECK(WrongIn(**hello, 0, 7) == "");
  CHECK(*streams.first.Flush());
  auto message = streams.second.Receive();
  REQUIRE((message.ok() && message->has_value()));
  CHECK(WrongIn(**message, 3, 1) == "");
}

}  // namespace
}  // namespace rueda::transport
