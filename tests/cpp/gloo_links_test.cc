// The links under the gloo backend: framing, order, refusals, abort. No Gloo in here.
#include <catch2/catch.hpp>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "backend_world.h"
#include "backends/gloo/plugin/peer_links.h"
#include "socket_mesh.h"

namespace rueda::testing {
namespace {

using backends::Completions;
using backends::PeerLinks;
using backends::Transfer;

// Links of rank 0 of two, and the channel that is rank 1's end.
struct TwoLinks {
  std::unique_ptr<PeerLinks> links;
  std::unique_ptr<transport::Channel> peer;
};

TwoLinks MakeTwoLinks() {
  std::vector<Channels> mesh = SocketMesh(2);
  Result<std::unique_ptr<PeerLinks>> links = PeerLinks::Make(TopologyOf(0, 2), std::move(mesh[0]));
  REQUIRE(links.ok());
  (*links)->StartRun(std::chrono::minutes(1));
  return {std::move(*links), std::move(mesh[1][0])};
}

// Sends a message as a peer would: header {slot, bytes} and payload.
void SendMessage(transport::Channel& channel, uint64_t slot, const std::vector<uint8_t>& payload,
                 uint64_t claimed_bytes) {
  std::vector<uint8_t> message(16);
  std::memcpy(message.data(), &slot, 8);
  std::memcpy(message.data() + 8, &claimed_bytes, 8);
  message.insert(message.end(), payload.begin(), payload.end());
  const Result<size_t> sent = channel.Send(message.data(), message.size());
  REQUIRE(sent.ok());
  REQUIRE(*sent == message.size());
}

}  // namespace

TEST_CASE("gloo links: messages of any size arrive in order, whoever posts first") {
  std::vector<Channels> mesh = SocketMesh(2);
  const std::vector<size_t> sizes{0, 1, 4096, 4097, 3, 1'000'003, 0, 65'536, 17};
  std::vector<std::vector<uint8_t>> received(sizes.size());
  const std::vector<Status> statuses = OnEachRank(2, [&](int rank) -> Status {
    Result<std::unique_ptr<PeerLinks>> links =
        PeerLinks::Make(TopologyOf(rank, 2), std::move(mesh[static_cast<size_t>(rank)]));
    if (!links.ok()) return links.status();
    (*links)->StartRun(std::chrono::minutes(1));
    Completions finished;
    for (size_t i = 0; i < sizes.size(); ++i) {
      std::vector<uint8_t> payload(sizes[i], static_cast<uint8_t>(i + 1));
      if (rank == 1) received[i].resize(sizes[i]);
      uint8_t* const data = rank == 0 ? payload.data() : received[i].data();
      const Transfer transfer{.slot = i, .data = data, .bytes = sizes[i], .finished = &finished};
      RUEDA_RETURN_IF_ERROR(rank == 0 ? (*links)->PostSend(1, transfer)
                                      : (*links)->PostReceive(0, transfer));
      RUEDA_RETURN_IF_ERROR((*links)->Wait(finished));
      finished.clear();
    }
    return Status::Ok();
  });
  CHECK(FirstFailure(statuses) == "");
  for (size_t i = 0; i < sizes.size(); ++i) {
    CHECK(received[i] == std::vector<uint8_t>(sizes[i], static_cast<uint8_t>(i + 1)));
  }
}

TEST_CASE("gloo links: what is behind a message that is not wanted yet stays with its peer") {
  TwoLinks two = MakeTwoLinks();
  SendMessage(*two.peer, 5, {1, 2, 3}, 3);
  SendMessage(*two.peer, 6, {4}, 1);
  two.peer->Close();
  std::vector<uint8_t> first(3), second(1);
  Completions finished;
  REQUIRE(two.links->PostReceive(1, {5, first.data(), 3, &finished}).ok());
  REQUIRE(two.links->Wait(finished).ok());
  CHECK(first == std::vector<uint8_t>{1, 2, 3});
  finished.clear();
  REQUIRE(two.links->PostReceive(1, {6, second.data(), 1, &finished}).ok());
  REQUIRE(two.links->Wait(finished).ok());
  CHECK(second[0] == 4);
  finished.clear();
  REQUIRE(two.links->PostReceive(1, {7, second.data(), 1, &finished}).ok());
  CHECK(two.links->Wait(finished).code() == StatusCode::kPeerLost);
}

TEST_CASE("gloo links: a message that is not the one due is refused before it is read") {
  TwoLinks two = MakeTwoLinks();
  std::vector<uint8_t> data(8);
  Completions finished;
  const uint64_t slot = GENERATE(3u, 4u);
  SendMessage(*two.peer, slot, {}, slot == 3 ? 1ULL << 60 : 8);
  REQUIRE(two.links->PostReceive(1, {3, data.data(), 8, &finished}).ok());
  const Status status = two.links->Wait(finished);
  CHECK(status.code() == StatusCode::kCorrupt);
  CHECK(status.blamed_rank() == 1);
  CHECK(finished.empty());
}

TEST_CASE("gloo links: an abort ends a wait at once and every later one") {
  TwoLinks two = MakeTwoLinks();
  std::vector<uint8_t> data(8);
  Completions finished;
  REQUIRE(two.links->PostReceive(1, {3, data.data(), 8, &finished}).ok());
  const Status why(StatusCode::kShutDown, "enough");
  Status waited;
  std::thread waiter([&] { waited = two.links->Wait(finished); });
  two.links->Abort(why);
  two.links->Abort({StatusCode::kPeerLost, "a later reason does not count"});
  waiter.join();
  CHECK(waited == why);
  CHECK(two.links->Wait(finished) == why);
  CHECK(two.links->PostReceive(1, {4, data.data(), 8, &finished}) == why);
  CHECK(two.links->PostSend(1, {4, data.data(), 8, &finished}) == why);
}

}  // namespace rueda::testing
