// HostMembership: orderly ends and deaths, causes and victims, and when nobody is left to write.
#include "transport/host_membership.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "status_text.h"

namespace rueda::transport {
namespace {

constexpr int kSize = 4;

// What every rank of a host maps, and a membership for each.
struct Host {
  Host() : memory(new ControlPage[kSize]()) {
    for (int rank = 0; rank < kSize; ++rank) {
      Topology topology{rank, kSize, rank, kSize, 0, 1, {}};
      for (int other = 0; other < kSize; ++other) topology.peers.push_back({"node", 100 + other});
      std::vector<ControlPage*> pages;
      for (int other = 0; other < kSize; ++other)
        pages.push_back(&memory[static_cast<size_t>(other)]);
      members.push_back(HostMembership::Start(topology, pages, {}).value());
      memory[static_cast<size_t>(rank)].doorbell.Prepare();
    }
  }
  HostMembership& member(int rank) { return *members[static_cast<size_t>(rank)]; }
  // Everybody is about to sleep.
  uint32_t rings(int rank) const { return memory[static_cast<size_t>(rank)].doorbell.Sequence(); }

  // As every other rank's pidfd tells.
  void Die(int victim) {
    for (int rank = 0; rank < kSize; ++rank) {
      if (rank != victim) member(rank).PeerExited(victim);
    }
  }

  std::unique_ptr<ControlPage[]> memory;
  std::vector<std::unique_ptr<HostMembership>> members;
};

const Status kOwnFault = Status(StatusCode::kSystem, "no memory").Blame(2);

TEST_CASE("while all run there is nothing to tell", "[membership]") {
  Host host;
  for (int rank = 0; rank < kSize; ++rank) {
    CHECK(host.member(rank).Check() == Status());
    CHECK_FALSE(host.member(rank).EveryoneGone());
  }
}

TEST_CASE("a rank that left in order is no error, even when its process ends", "[membership]") {
  Host host;
  host.member(2).AnnounceLeft();
  CHECK(host.member(0).Check() == Status());
  host.Die(2);
  CHECK(host.member(0).Check() == Status());
}

TEST_CASE("a death is the same words on every survivor", "[membership]") {
  Host host;
  host.Die(2);
  const Status first = host.member(0).Check();
  CHECK(first.code() == StatusCode::kPeerLost);
  CHECK(first.blamed_rank() == 2);
  CHECK_THAT(first.message(), Catch::Contains("rank 2 (pid 102 on node) died"));
  CHECK(host.member(1).Check() == first);
  CHECK(host.member(3).Check() == first);
  CHECK(host.member(2).Check() == Status());  // nobody told it of itself
}

TEST_CASE("a failure is told in its own words, before and after its process ends", "[membership]") {
  Host host;
  host.member(2).AnnounceFailure(kOwnFault);
  for (const int rank : {0, 1, 3}) CHECK(host.member(rank).Check() == kOwnFault);
  host.Die(2);
  for (const int rank : {0, 1, 3}) CHECK(host.member(rank).Check() == kOwnFault);
}

TEST_CASE("the cause is told, not its victims, in whatever order they are seen", "[membership]") {
  const int cause = GENERATE(1, 2, 3);
  const int victim = GENERATE(1, 2, 3);
  if (cause == victim) return;
  CAPTURE(cause, victim);
  const Status verdict = Status(StatusCode::kTimedOut, "it did not answer").Blame(cause);
  Host host;
  host.Die(cause);
  host.member(victim).AnnounceFailure(verdict);
  CHECK(host.member(0).Check() == verdict);
  CHECK(host.member(0).Check().blamed_rank() == cause);
}

TEST_CASE("of several deaths one is told, the same everywhere", "[membership]") {
  Host host;
  host.Die(3);
  host.Die(1);
  const Status told = host.member(0).Check();
  CHECK(told.code() == StatusCode::kPeerLost);
  CHECK(host.member(2).Check() == told);
}

TEST_CASE("every end rings the others and nobody else", "[membership]") {
  Host host;
  SECTION("left") { host.member(1).AnnounceLeft(); }
  SECTION("failed") { host.member(1).AnnounceFailure(kOwnFault); }
  CHECK(host.rings(1) == 0);
  for (const int rank : {0, 2, 3}) CHECK(host.rings(rank) == 1);
}

TEST_CASE("a death rings the rank that is told of it", "[membership]") {
  Host host;
  host.member(3).PeerExited(1);
  for (int rank = 0; rank < kSize; ++rank) CHECK(host.rings(rank) == (rank == 3 ? 1 : 0));
}

TEST_CASE("everyone is gone when each other rank left, failed or died", "[membership]") {
  std::vector<int> order{1, 2, 3};
  do {
    Host host;
    for (const int rank : order) {
      CHECK_FALSE(host.member(0).EveryoneGone());
      if (rank == 1) host.member(1).AnnounceLeft();
      if (rank == 2) host.member(2).AnnounceFailure(kOwnFault);
      if (rank == 3) host.Die(3);
    }
    CHECK(host.member(0).EveryoneGone());
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("alone there is nobody to wait for", "[membership]") {
  const std::unique_ptr<ControlPage[]> page(new ControlPage[1]());
  const auto alone = HostMembership::Start(Topology{}, {page.get()}, {}).value();
  CHECK(alone->Check() == Status());
  CHECK(alone->EveryoneGone());
}

}  // namespace
}  // namespace rueda::transport
