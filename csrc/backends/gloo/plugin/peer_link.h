// PeerLink: messages in order to and from one peer, over one Channel.
//
// A message is a header {slot, bytes}, both little-endian 64-bit, and its payload. The n-th message
// of a peer belongs to the n-th receive posted for that peer, and nothing is read while no receive
// is posted. That cannot dead-lock Gloo: of the collectives used here each one posts its receives
// from a peer in the order of that peer's sends, finishes before the next begins (I1), and is
// written for a transport whose sends end only once the receive is posted. So the first message of
// a link is always the next one wanted from it, and waiting for it never holds up another that is
// wanted earlier. The slot is checked, not searched for: a surprise means that the ranks disagree.
//
// For one thread. Knows neither Gloo nor sockets; the first error ends the link.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "core/status.h"
#include "transport/channel.h"

namespace rueda::backends {

// The peers whose transfers for one buffer are finished, oldest first.
using Completions = std::vector<int>;

// One posted send or receive. The memory is the poster's until the transfer is in `finished`.
struct Transfer {
  uint64_t slot = 0;
  uint8_t* data = nullptr;
  size_t bytes = 0;
  Completions* finished = nullptr;
};

class PeerLink {
 public:
  PeerLink(int peer, std::unique_ptr<transport::Channel> channel);

  void PostSend(const Transfer& transfer) { sends_.push_back(transfer); }
  void PostReceive(const Transfer& transfer) { receives_.push_back(transfer); }

  bool sending() const { return !sends_.empty(); }
  bool receiving() const { return !receives_.empty(); }
  int descriptor() const { return channel_->descriptor(); }

  // Moves what the channel takes, or gives, now. kPeerLost as the channel says; kCorrupt when the
  // peer's message is not the one expected.
  Status Send();
  Status Receive();

  // Forgets what is posted for a buffer that is going away. The link is of no use afterwards if
  // one of its transfers was under way.
  void Discard(const Completions* finished);

 private:
  static constexpr size_t kHeaderBytes = 16;
  // Small messages travel with their header in one call each way; of a large one the rest goes
  // straight from and to the posted memory.
  static constexpr size_t kStageBytes = kHeaderBytes + 4096;

  void StageFront();
  Result<bool> ReadHeader();
  Result<bool> ReadPayload(const Transfer& transfer);
  size_t TakeStaged(uint8_t* to, size_t bytes);

  const int peer_;
  const std::unique_ptr<transport::Channel> channel_;

  std::deque<Transfer> sends_;
  std::array<uint8_t, kStageBytes> out_;  // header and first payload bytes of sends_.front()
  size_t out_bytes_ = 0;                  // staged; 0: sends_.front() was not begun
  size_t sent_ = 0;                       // of header and payload together

  std::deque<Transfer> receives_;
  std::array<uint8_t, kStageBytes> in_;  // read ahead
  size_t in_begin_ = 0;
  size_t in_end_ = 0;
  bool in_payload_ = false;  // the header of receives_.front() was read
  size_t received_ = 0;      // of its payload
};

}  // namespace rueda::backends
