// SocketMesh: ranks of one process, every two joined by a socket pair.
#pragma once

#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/types.h"
#include "transport/channel.h"
#include "transport/socket_channel.h"
#include "transport/unique_fd.h"

namespace rueda::testing {

// One rank's channels, by peer.
using Channels = std::vector<std::unique_ptr<transport::Channel>>;

// By rank. Main thread only.
inline std::vector<Channels> SocketMesh(int size) {
  std::vector<Channels> mesh(static_cast<size_t>(size));
  for (Channels& channels : mesh) channels.resize(static_cast<size_t>(size));
  for (int a = 0; a < size; ++a) {
    for (int b = a + 1; b < size; ++b) {
      int ends[2];
      REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
      auto to_b = transport::SocketChannel::Adopt(transport::UniqueFd(ends[0]), b);
      auto to_a = transport::SocketChannel::Adopt(transport::UniqueFd(ends[1]), a);
      REQUIRE((to_b.ok() && to_a.ok()));
      mesh[static_cast<size_t>(a)][static_cast<size_t>(b)] = std::move(*to_b);
      mesh[static_cast<size_t>(b)][static_cast<size_t>(a)] = std::move(*to_a);
    }
  }
  return mesh;
}

// Names every rank: "rank 1 (pid 101 on host1)".
inline Topology TopologyOf(int rank, int size) {
  Topology topology;
  topology.rank = rank;
  topology.size = size;
  for (int peer = 0; peer < size; ++peer) {
    topology.peers.push_back({"host" + std::to_string(peer), 100 + peer});
  }
  return topology;
}

}  // namespace rueda::testing
