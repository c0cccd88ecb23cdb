// PollParker: wakes on Unpark, on bytes, on room that is wanted; sleeps otherwise.
#include "transport/poll_parker.h"

#include <sys/socket.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "channel_streams.h"
#include "deadline.h"
#include "transport/socket_channel.h"

namespace rueda::transport {
namespace {

using testing::Deadline;
using testing::Patience;

struct Link {
  std::unique_ptr<SocketChannel> own, peer;
};

Link MakeLink() {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  return {SocketChannel::Adopt(UniqueFd(ends[0]), 1).value(),
          SocketChannel::Adopt(UniqueFd(ends[1]), 0).value()};
}

// How often it wakes within 20 ms; a parker that spins wakes thousands of times.
int WakesWhileIdle(PollParker& parker) {
  const TimePoint until = SteadyClock().Now() + std::chrono::milliseconds(20);
  int wakes = 0;
  for (; SteadyClock().Now() < until; ++wakes) parker.Park(parker.Prepare(), until);
  return wakes;
}
constexpr int kFew = 10;

bool WakesAtOnce(PollParker& parker, uint32_t seen) {
  const Patience patience;
  parker.Park(seen, patience.end());
  return !patience.over();
}

TEST_CASE("an unpark since the look ends the park at once, once", "[poll_parker]") {
  const Deadline deadline("unpark before park");
  auto parker = PollParker::Create().value();
  const uint32_t seen = parker->Prepare();
  parker->Unpark();
  parker->Unpark();
  CHECK(WakesAtOnce(*parker, seen));
  CHECK(WakesAtOnce(*parker, seen));
  CHECK(WakesWhileIdle(*parker) < kFew);
}

TEST_CASE("a deadline ends the park, past or to come", "[poll_parker]") {
  const Deadline deadline("deadlines of a parker");
  auto parker = PollParker::Create().value();
  parker->Park(parker->Prepare(), TimePoint{});
  const TimePoint until = SteadyClock().Now() + std::chrono::microseconds(2'500);
  while (SteadyClock().Now() < until) parker->Park(parker->Prepare(), until);
  parker->Park(parker->Prepare(), SteadyClock().Now() - std::chrono::hours(1));
}

TEST_CASE("no unpark from another thread is lost", "[poll_parker]") {
  const Deadline deadline("unparks from a thread");
  constexpr int kUnparks = 5'000;
  auto parker = PollParker::Create().value();
  std::atomic<int> made{0}, taken{0};
  std::thread other([&] {
    for (int i = 1; i <= kUnparks; ++i) {
      made.store(i);
      parker->Unpark();
      while (taken.load() < i && i % 2 == 0) std::this_thread::yield();
    }
  });
  const Patience patience;
  while (taken.load() < kUnparks && !patience.over()) {
    const uint32_t seen = parker->Prepare();
    if (made.load() > taken.load()) {
      taken.store(made.load());
    } else {
      parker->Park(seen, patience.end());
    }
  }
  taken.store(kUnparks);
  other.join();
  CHECK_FALSE(patience.over());
}

TEST_CASE("bytes on any watched channel end the park", "[poll_parker]") {
  const Deadline deadline("bytes wake a parker");
  auto parker = PollParker::Create().value();
  std::vector<Link> links;
  for (int i = 0; i < 3; ++i) {
    links.push_back(MakeLink());
    parker->Watch(links.back().own.get());
  }
  CHECK(WakesWhileIdle(*parker) < kFew);
  for (Link& link : links) {
    uint8_t byte = 1;
    REQUIRE(*link.peer->Send(&byte, 1) == 1);
    CHECK(WakesAtOnce(*parker, parker->Prepare()));
    REQUIRE(*link.own->Receive(&byte, 1) == 1);
    CHECK(WakesWhileIdle(*parker) < kFew);
  }
}

TEST_CASE("room ends the park while it is wanted, and only then", "[poll_parker]") {
  const Deadline deadline("room wakes a parker");
  auto parker = PollParker::Create().value();
  Link link = MakeLink();
  parker->Watch(link.own.get());
  std::vector<uint8_t> bytes(1 << 20);
  CHECK(*link.own->Send(bytes.data(), 1) == 1);
  CHECK_FALSE(link.own->wants_room());
  CHECK(WakesWhileIdle(*parker) < kFew);  // there is room, but nobody wants it

  while (*link.own->Send(bytes.data(), bytes.size()) > 0) {
  }
  CHECK(link.own->wants_room());
  CHECK(WakesWhileIdle(*parker) < kFew);  // it is wanted, but there is none
  while (*link.peer->Receive(bytes.data(), bytes.size()) > 0) {
  }
  CHECK(WakesAtOnce(*parker, parker->Prepare()));
  CHECK(*link.own->Send(bytes.data(), 1) == 1);
  CHECK(WakesWhileIdle(*parker) < kFew);
}

TEST_CASE("the end of a watched channel ends the park", "[poll_parker]") {
  const Deadline deadline("a close wakes a parker");
  auto parker = PollParker::Create().value();
  Link link = MakeLink();
  parker->Watch(link.own.get());
  link.peer.reset();
  CHECK(WakesAtOnce(*parker, parker->Prepare()));
}

TEST_CASE("a channel that this side closed keeps nobody awake", "[poll_parker]") {
  const Deadline deadline("a closed channel");
  const bool peer_first = GENERATE(false, true);
  auto parker = PollParker::Create().value();
  Link link = MakeLink();
  parker->Watch(link.own.get());
  if (peer_first) link.peer->Close();
  link.own->Close();
  CHECK(WakesWhileIdle(*parker) < kFew);
}

}  // namespace
}  // namespace rueda::transport
