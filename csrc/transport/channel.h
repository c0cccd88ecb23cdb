// Channel: a stream of bytes to one peer, in order, that never blocks.
//
// Implementations pass tests/cpp/channel_contract.h. One thread may send while another receives;
// neither end may be used by two threads at once. Waiting is not a channel's business: whoever
// drives sleeps in a Parker, which arriving bytes and freed space wake.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/status.h"

namespace rueda::transport {

class Channel {
 public:
  virtual ~Channel() = default;

  // Takes as many of the bytes as fit now and says how many; 0 means try again when woken.
  // kPeerLost once the peer's end is closed or gone.
  virtual Result<size_t> Send(const uint8_t* data, size_t bytes) = 0;

  // Fills as much of `data` as has arrived and says how much; 0 means nothing now. What the peer
  // sent before it closed is delivered first, then kPeerLost.
  virtual Result<size_t> Receive(uint8_t* data, size_t bytes) = 0;

  // Tells the peer that no more bytes come. Sending afterwards is kPeerLost. Idempotent.
  virtual void Close() = 0;

  // True while the last Send could not take everything: room for more is worth waking up for.
  virtual bool wants_room() const { return false; }

  // The descriptor to poll, or -1: for channels in memory, whose peers ring a Parker, and once
  // Receive told the loss or this end is closed, because that would keep its poller awake for ever.
  virtual int descriptor() const = 0;
};

}  // namespace rueda::transport
