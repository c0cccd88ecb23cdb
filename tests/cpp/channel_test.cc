// Every channel there is passes the channel contract.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <memory>
#include <utility>

#include "channel_contract.h"
#include "transport/arena.h"
#include "transport/loopback_channel.h"
#include "transport/poll_parker.h"
#include "transport/shm_channel.h"
#include "transport/socket_channel.h"

namespace rueda::testing {
namespace {

using transport::ArenaLayout;
using transport::ArenaMapping;
using transport::Doorbell;
using transport::UniqueFd;

ChannelLink MakeLoopback() {
  auto bells = std::shared_ptr<Doorbell[]>(new Doorbell[2]());
  auto [first, second] = transport::MakeLoopbackLink(
      5'003, [bells] { bells[0].Ring(); }, [bells] { bells[1].Ring(); });
  return {bells,
          {std::make_unique<transport::DoorbellParker>(&bells[0]), std::move(first)},
          {std::make_unique<transport::DoorbellParker>(&bells[1]), std::move(second)}};
}

// Two ranks' arenas, of which only the front is used: the doorbell and the inboxes.
ChannelLink MakeShm() {
  using Arenas = std::vector<std::shared_ptr<ArenaMapping>>;
  const int64_t bytes = transport::SmallestArena(2);
  const auto layout = ArenaLayout::For(0, 2, bytes);
  auto arenas = std::make_shared<Arenas>();
  for (int rank = 0; rank < 2; ++rank) {
    arenas->push_back(ArenaMapping::Map(*transport::CreateArenaFile(bytes)).value());
  }
  const auto base = [&](size_t rank) { return (*arenas)[rank]->base(); };
  const auto bell = [&](size_t rank) { return reinterpret_cast<Doorbell*>(base(rank)); };
  const auto end = [&](size_t own, size_t peer) -> ChannelEnd {
    return {std::make_unique<transport::DoorbellParker>(bell(own)),
            std::make_unique<transport::ShmChannel>(
                transport::RingAt(base(peer), layout, static_cast<int>(own)),
                transport::RingAt(base(own), layout, static_cast<int>(peer)), bell(peer),
                static_cast<int>(peer))};
  };
  return {arenas, end(0, 1), end(1, 0)};
}

ChannelEnd SocketEnd(int socket, int peer) {
  auto parker = transport::PollParker::Create().value();
  auto channel = transport::SocketChannel::Adopt(UniqueFd(socket), peer).value();
  parker->Watch(channel.get());
  return {std::move(parker), std::move(channel)};
}

ChannelLink MakeUnixSockets() {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  return {nullptr, SocketEnd(ends[0], 1), SocketEnd(ends[1], 0)};
}

ChannelLink MakeTcpSockets() {
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof address;
  REQUIRE(::bind(listener.get(), generic, length) == 0);
  REQUIRE(::listen(listener.get(), 1) == 0);
  REQUIRE(::getsockname(listener.get(), generic, &length) == 0);
  const int first = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(::connect(first, generic, length) == 0);
  const int second = ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
  REQUIRE(second >= 0);
  for (const int end : {first, second}) {
    const int on = 1;
    REQUIRE(::setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
  }
  return {nullptr, SocketEnd(first, 1), SocketEnd(second, 0)};
}

}  // namespace

RUEDA_CHANNEL_CONTRACT("loopback channel", MakeLoopback)
RUEDA_CHANNEL_CONTRACT("shared-memory channel", MakeShm)
RUEDA_CHANNEL_CONTRACT("Unix socket channel", MakeUnixSockets)
RUEDA_CHANNEL_CONTRACT("TCP socket channel", MakeTcpSockets)

}  // namespace rueda::testing
