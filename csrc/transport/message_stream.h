// MessageStream: whole messages over a Channel, in both directions, without blocking.
//
// Each message is a 4-byte little-endian length, a type byte and the payload (docs/wire-format.md).
// One thread at a time. Buffers are reused: nothing is allocated once they have grown.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/status.h"
#include "transport/channel.h"

namespace rueda::transport {

struct Message {
  uint8_t type = 0;
  std::span<const uint8_t> payload;  // valid until the next Receive
};

class MessageStream {
 public:
  MessageStream(std::unique_ptr<Channel> channel, size_t max_message_bytes)
      : channel_(std::move(channel)), max_message_bytes_(max_message_bytes) {}

  // Queues a message and sends what the channel takes.
  Status Send(uint8_t type, std::span<const uint8_t> payload);

  // Sends more of what is queued; true if anything moved.
  Result<bool> Flush();
  bool has_unsent() const { return sent_ < outgoing_.size(); }

  // Sends nothing, only queues, until something has been received. For a peer that may still be
  // reading what came before on the same connection and would swallow it.
  void HoldUntilHeard() { held_ = true; }

  // The next whole message, if it has arrived. kCorrupt for one over the limit.
  Result<std::optional<Message>> Receive();

  void Close() { channel_->Close(); }

 private:
  Result<std::optional<Message>> TakeWhole();

  std::unique_ptr<Channel> channel_;
  const size_t max_message_bytes_;
  std::vector<uint8_t> outgoing_;
  size_t sent_ = 0;
  std::vector<uint8_t> incoming_;
  size_t filled_ = 0;  // bytes of incoming_ that hold data
  size_t taken_ = 0;   // bytes at its front that were given out
  bool held_ = false;
};

}  // namespace rueda::transport
