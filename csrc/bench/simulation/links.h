// Links: what a message costs on its way between two simulated ranks.
//
// The model is LogGP (Alexandrov et al. 1995, doi:10.1145/215399.215427): a node computes for a
// while to send a message and to receive one, a message is under way for a latency, and each byte
// occupies the sender's and the receiver's port for a while.
#pragma once

#include <cstddef>

#include "core/clock.h"

namespace rueda::bench {

struct Link {
  Duration latency{};
  double bytes_per_second = 0;  // zero: bytes take no time
  Duration message_cpu{};       // of either end, for each message

  Duration Transfer(size_t bytes) const {
    if (bytes_per_second <= 0) return {};
    return Duration(
        static_cast<Duration::rep>(static_cast<double>(bytes) * 1e9 / bytes_per_second));
  }
};

struct Links {
  Link within_host;
  Link between_hosts;
  int ranks_per_host = 1;  // consecutive ranks

  const Link& Between(int a, int b) const {
    return a / ranks_per_host == b / ranks_per_host ? within_host : between_hosts;
  }
};

}  // namespace rueda::bench
