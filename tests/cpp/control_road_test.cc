// The control road between rank 0 and a client: last words, full channels, rooms, and what is
// refused.
#include "engine/control_road.h"

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "status_text.h"
#include "thread_job.h"
#include "transport/loopback_channel.h"
#include "transport/message_stream.h"
#include "transport/poll_parker.h"
#include "transport/socket_channel.h"

namespace rueda::engine {
namespace {

using Channels = std::vector<std::unique_ptr<transport::Channel>>;

EngineParts PartsOf(int rank, int size = 2) {
  EngineParts parts;
  parts.topology = {rank, size, rank, size, 0, 1, {}};
  for (int other = 0; other < size; ++other) parts.topology.peers.push_back({"node", 10 + other});
  return parts;
}

control::Batch Offering(const std::string& name, int64_t count = 4) {
  control::Batch batch;
  batch.requests = {testing::RequestFor(name, count)};
  return batch;
}

control::Batch Leaving(const std::string& reason) {
  control::Batch batch;
  batch.leave_reason = reason;
  return batch;
}

// Rank 0 and one client over a link that holds `capacity` bytes each way.
struct Pair {
  explicit Pair(size_t capacity = 1 << 16) {
    auto [of_host, of_client] = transport::MakeLoopbackLink(
        capacity, [] {}, [] {});
    Channels channels(2);
    channels[1] = std::move(of_host);
    host = MakeControlHost(host_parts, std::move(channels));
    client = MakeControlClient(client_parts, std::move(of_client));
  }
  // Lets both move until neither does.
  Status Settle() {
    for (bool moved = true; moved;) {
      const Result<bool> a = client->Poll(), b = host->Poll();
      if (!a.ok()) return a.status();
      if (!b.ok()) return b.status();
      moved = *a || *b;
    }
    return Status::Ok();
  }
  EngineParts host_parts = PartsOf(0), client_parts = PartsOf(1);
  std::unique_ptr<ControlRoad> host, client;
};

const Status kBroken = Status(StatusCode::kTimedOut, "allreduce 'w' ran too long").Blame(1);

TEST_CASE("what both offer comes back to both in one frame", "[control_road]") {
  Pair pair;
  REQUIRE(pair.client->Offer(Offering("x")) == Status());
  REQUIRE(pair.Settle() == Status());
  CHECK(pair.client->TakeFrame() == nullptr);
  REQUIRE(pair.host->Offer(Offering("x")) == Status());
  CHECK(pair.host->NextDeadline() <= SteadyClock().Now());  // there is something to decide
  REQUIRE(pair.Settle() == Status());
  const auto at_host = pair.host->TakeFrame(), at_client = pair.client->TakeFrame();
  REQUIRE((at_host != nullptr && at_client != nullptr));
  CHECK(*at_host == *at_client);
  CHECK(at_host->responses.at(0).name == "x");
  CHECK(pair.host->TakeFrame() == nullptr);
  CHECK(pair.host->NextDeadline() > SteadyClock().Now());
}

TEST_CASE("rank 0's farewell is heard by a client that is about to offer", "[control_road]") {
  const bool unsent = GENERATE(false, true);
  CAPTURE(unsent);
  Pair pair(100);  // an offer that does not fit is waiting when the farewell comes
  if (unsent) {
    REQUIRE(pair.client->Offer(Offering(std::string(300, 'n'))) == Status());
    REQUIRE_FALSE(pair.client->Flushed());
  }
  pair.host->Farewell(Status(), "ValueError: bad batch");
  CHECK(pair.client->Offer(Offering("x")) == Status());
  CHECK(pair.client->Poll().status() == Status());
  REQUIRE(pair.client->closed().has_value());
  CHECK(pair.client->closed()->code() == StatusCode::kPeerLeft);
  CHECK(pair.client->closed()->blamed_rank() == 0);
  CHECK_THAT(pair.client->closed()->message(),
             Catch::Contains("rank 0 (pid 10 on node)") && Catch::Contains("bad batch"));
  CHECK(pair.client->Flushed());  // nobody is there to take what was left
}

TEST_CASE("rank 0's error is told in its own words, not as a closed channel", "[control_road]") {
  const bool offers_first = GENERATE(false, true);
  Pair pair(100);
  REQUIRE(pair.client->Offer(Offering(std::string(300, 'n'))) == Status());
  pair.host->Farewell(kBroken, "");
  CHECK((offers_first ? pair.client->Offer(Offering("x")) : pair.client->Poll().status()) ==
        kBroken);
}

TEST_CASE("a client's error is told in its own words, even on a full channel", "[control_road]") {
  const bool full = GENERATE(false, true);
  CAPTURE(full);
  Pair pair(120);
  if (full) {
    // The frame does not fit, and the client reads nothing more.
    const std::string name(200, 'n');
    REQUIRE(pair.client->Offer(Offering(name)) == Status());
    while (!pair.client->Flushed()) {
      REQUIRE(pair.host->Poll().status() == Status());
      REQUIRE(pair.client->Poll().status() == Status());
    }
    REQUIRE(pair.host->Poll().status() == Status());
    REQUIRE(pair.host->Offer(Offering(name)) == Status());
    REQUIRE(pair.host->Poll().status() == Status());
    REQUIRE_FALSE(pair.host->Flushed());
  }
  pair.client->Farewell(kBroken, "");
  Status told;
  for (int polls = 0; told.ok() && polls < 5; ++polls) told = pair.host->Poll().status();
  CHECK(told == kBroken);
}

TEST_CASE("a peer that closes without a word is lost", "[control_road]") {
  Pair of_host;
  of_host.client.reset();
  const Status lost = of_host.host->Poll().status();
  CHECK(lost.code() == StatusCode::kPeerLost);
  CHECK(lost.blamed_rank() == 1);
  CHECK_THAT(lost.message(), Catch::Contains("rank 1 (pid 11 on node)"));
  Pair of_client;
  of_client.host.reset();
  CHECK(of_client.client->Poll().status().code() == StatusCode::kPeerLost);
  CHECK(of_client.client->Poll().status().blamed_rank() == 0);
}

TEST_CASE("a client that left is not missed", "[control_road]") {
  Pair pair;
  REQUIRE(pair.client->Offer(Leaving("done")) == Status());
  REQUIRE(pair.Settle() == Status());
  const auto acknowledged = pair.client->TakeFrame();
  REQUIRE(acknowledged != nullptr);
  CHECK(acknowledged->responses.at(0).error.code() == StatusCode::kShutDown);
  CHECK(acknowledged->responses.at(0).only_rank == 1);
  pair.client->Farewell(Status(), "");
  pair.client.reset();
  for (int i = 0; i < 3; ++i) CHECK(pair.host->Poll().status() == Status());
  CHECK(pair.host->Flushed());
  // What would need it fails at once, and nothing is sent to it.
  REQUIRE(pair.host->Offer(Offering("x")) == Status());
  REQUIRE(pair.host->Poll().status() == Status());
  CHECK(pair.host->Flushed());
  REQUIRE(pair.host->TakeFrame() != nullptr);
  const auto refused = pair.host->TakeFrame();
  REQUIRE(refused != nullptr);
  CHECK(refused->responses.at(0).error.code() == StatusCode::kPeerLeft);
}

TEST_CASE("frames wait for a client that does not read, without waking rank 0", "[control_road]") {
  Pair pair(120);
  for (const std::string name : {"first", "second", "third"}) {
    REQUIRE(pair.client->Offer(Offering(name)) == Status());
    while (!pair.client->Flushed()) {
      REQUIRE(pair.host->Poll().status() == Status());
      REQUIRE(pair.client->Poll().status() == Status());
    }
    REQUIRE(pair.host->Offer(Offering(name)) == Status());
    REQUIRE(pair.host->Poll().status() == Status());
  }
  REQUIRE_FALSE(pair.host->Flushed());
  CHECK(pair.host->NextDeadline() > SteadyClock().Now());
  CHECK_FALSE(*pair.host->Poll());
  REQUIRE(pair.Settle() == Status());
  int frames = 0;
  while (pair.client->TakeFrame()) ++frames;
  CHECK(frames >= 2);
  CHECK(frames <= 3);
}

TEST_CASE("a socket whose client left keeps rank 0 asleep", "[control_road]") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  auto parker = transport::PollParker::Create().value();
  Channels channels(2);
  channels[1] = transport::SocketChannel::Adopt(transport::UniqueFd(ends[0]), 1).value();
  parker->Watch(channels[1].get());
  EngineParts host_parts = PartsOf(0), client_parts = PartsOf(1);
  const auto host = MakeControlHost(host_parts, std::move(channels));
  auto client = MakeControlClient(
      client_parts, transport::SocketChannel::Adopt(transport::UniqueFd(ends[1]), 0).value());
  REQUIRE(client->Offer(Leaving("")) == Status());
  client->Farewell(Status(), "");
  client.reset();
  for (int i = 0; i < 4; ++i) REQUIRE(host->Poll().status() == Status());
  const TimePoint until = SteadyClock().Now() + std::chrono::milliseconds(20);
  int wakes = 0;
  for (; SteadyClock().Now() < until; ++wakes) parker->Park(parker->Prepare(), until);
  CHECK(wakes < 10);
}

TEST_CASE("what is no message of this road is corrupt", "[control_road]") {
  const bool to_host = GENERATE(false, true);
  const auto type = static_cast<uint8_t>(GENERATE(0, 1, 2, 4, 6, 7, 255));
  CAPTURE(to_host, static_cast<int>(type));
  auto [raw, end] = transport::MakeLoopbackLink(
      1'000, [] {}, [] {});
  EngineParts parts = PartsOf(to_host ? 0 : 1);
  Channels channels(2);
  if (to_host) channels[1] = std::move(end);
  const auto road = to_host ? MakeControlHost(parts, std::move(channels))
                            : MakeControlClient(parts, std::move(end));
  transport::MessageStream stranger(std::move(raw), 1'000);
  const std::vector<uint8_t> noise{77, 2, 3};
  REQUIRE(stranger.Send(type, noise) == Status());
  CHECK(road->Poll().status().code() == StatusCode::kCorrupt);
}

TEST_CASE("a frame that is missing or comes twice is corrupt", "[control_road]") {
  const uint64_t second = GENERATE(1, 3);
  auto [raw, end] = transport::MakeLoopbackLink(
      1'000, [] {}, [] {});
  EngineParts parts = PartsOf(1);
  const auto client = MakeControlClient(parts, std::move(end));
  transport::MessageStream host(std::move(raw), 1'000);
  control::Frame frame;
  for (const uint64_t number : {uint64_t{1}, second}) {
    frame.number = number;
    REQUIRE(host.Send(static_cast<uint8_t>(MessageType::kFrame), control::Encode(frame)) ==
            Status());
  }
  CHECK(client->Poll().status().code() == StatusCode::kCorrupt);
}

TEST_CASE("rank 0 sends nothing on a used connection before the client's hello", "[control_road]") {
  auto [of_host, of_client] = transport::MakeLoopbackLink(
      1'000, [] {}, [] {});
  EngineParts host_parts = PartsOf(0), client_parts = PartsOf(1);
  host_parts.control_needs_hello = client_parts.control_needs_hello = true;
  Channels channels(2);
  channels[1] = std::move(of_host);
  const auto host = MakeControlHost(host_parts, std::move(channels));
  REQUIRE(host->Offer(Leaving("")) == Status());
  REQUIRE(host->Poll().status() == Status());  // decides, and holds the frame back
  uint8_t byte = 0;
  CHECK(*of_client->Receive(&byte, 1) == 0);
  CHECK_FALSE(host->Flushed());
  const auto client = MakeControlClient(client_parts, std::move(of_client));
  REQUIRE(host->Poll().status() == Status());
  CHECK(host->Flushed());
  REQUIRE(client->Poll().status() == Status());
  CHECK(client->TakeFrame() != nullptr);
}

TEST_CASE("an aside goes both ways beside the frames", "[control_road][aside]") {
  Pair pair;
  const std::vector<uint8_t> body(kMaxAsideBytes, 7);
  REQUIRE(pair.client->CanTell(0));
  REQUIRE(pair.host->CanTell(1));
  CHECK_FALSE(pair.client->CanTell(1));
  CHECK_FALSE(pair.host->CanTell(0));
  CHECK_FALSE(pair.host->CanTell(2));
  REQUIRE(pair.client->Tell({AsideTopic::kStall, 0, body}) == Status());
  REQUIRE(pair.client->Tell({AsideTopic::kTimeline, 0, {}}) == Status());
  REQUIRE(pair.host->Tell({AsideTopic::kTimeline, 1, {1, 2}}) == Status());
  REQUIRE(pair.Settle() == Status());
  const auto first = pair.host->TakeAside(), second = pair.host->TakeAside();
  REQUIRE((first.has_value() && second.has_value()));
  CHECK(first->topic == AsideTopic::kStall);
  CHECK(first->rank == 1);
  CHECK(first->body == body);
  CHECK(second->topic == AsideTopic::kTimeline);
  CHECK(second->body.empty());
  CHECK_FALSE(pair.host->TakeAside().has_value());
  const auto heard = pair.client->TakeAside();
  REQUIRE(heard.has_value());
  CHECK(heard->rank == 0);
  CHECK(heard->body == std::vector<uint8_t>{1, 2});
  CHECK(pair.client->TakeFrame() == nullptr);
}

TEST_CASE("an aside can be told only when nothing waits, and never to who left",
          "[control_road][aside]") {
  Pair pair(100);
  REQUIRE(pair.client->Offer(Offering(std::string(300, 'n'))) == Status());
  CHECK_FALSE(pair.client->CanTell(0));
  while (!pair.client->Flushed()) {
    REQUIRE(pair.host->Poll().status() == Status());
    REQUIRE(pair.client->Poll().status() == Status());
  }
  CHECK(pair.client->CanTell(0));
  REQUIRE(pair.client->Offer(Leaving("")) == Status());
  REQUIRE(pair.Settle() == Status());
  pair.client->Farewell(Status(), "");
  REQUIRE(pair.host->Poll().status() == Status());
  CHECK_FALSE(pair.host->CanTell(1));
  CHECK(pair.host->Tell({AsideTopic::kStall, 1, {}}) == Status());

  Pair without_host;
  without_host.host->Farewell(Status(), "");
  REQUIRE(without_host.client->Poll().status() == Status());
  CHECK_FALSE(without_host.client->CanTell(0));
  CHECK(without_host.client->Tell({AsideTopic::kStall, 0, {}}) == Status());
}

TEST_CASE("an aside that cannot be read is corrupt", "[control_road][aside]") {
  const Aside aside{AsideTopic::kTimeline, 0, {1, 2, 3}};
  const Result<Aside> same = DecodeAside(EncodeAside(aside), 5);
  REQUIRE(same.ok());
  CHECK(same->topic == aside.topic);
  CHECK(same->rank == 5);
  CHECK(same->body == aside.body);
  const std::vector<uint8_t> longest(1 + kMaxAsideBytes, 1), too_long(2 + kMaxAsideBytes, 1);
  CHECK(DecodeAside(longest, 0).ok());
  CHECK(DecodeAside(too_long, 0).status().code() == StatusCode::kCorrupt);
  CHECK(DecodeAside({}, 0).status().code() == StatusCode::kCorrupt);
  for (const uint8_t topic : {0, 3, 255}) {
    CHECK(DecodeAside(std::vector<uint8_t>{topic, 1}, 0).status().code() == StatusCode::kCorrupt);
  }
}

TEST_CASE("an error comes back from its message as it was", "[control_road]") {
  CHECK(DecodeFailure(EncodeFailure(kBroken)) == kBroken);
  const Status nobody(StatusCode::kSystem, "");
  CHECK(DecodeFailure(EncodeFailure(nobody)) == nobody);
  const Status endless(StatusCode::kSystem, std::string(1'000'000, 'x'));
  CHECK(DecodeFailure(EncodeFailure(endless)).message() == std::string(kMaxLastWords, 'x'));
  const std::vector<uint8_t> encoded = EncodeFailure(kBroken);
  for (size_t bytes = 0; bytes < 8; ++bytes) {
    CHECK(DecodeFailure({encoded.data(), bytes}).code() == StatusCode::kCorrupt);
  }
  CHECK(DecodeFailure(std::vector<uint8_t>(20)).code() == StatusCode::kCorrupt);
}

}  // namespace
}  // namespace rueda::engine
