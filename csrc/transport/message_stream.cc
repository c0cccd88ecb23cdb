#include "transport/message_stream.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace rueda::transport {
namespace {

constexpr size_t kHeaderBytes = 5;
constexpr size_t kReadBytes = 4096;

uint32_t LoadLength(const uint8_t* at) {
  return static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 |
         static_cast<uint32_t>(at[2]) << 16 | static_cast<uint32_t>(at[3]) << 24;
}

}  // namespace

Status MessageStream::Send(uint8_t type, std::span<const uint8_t> payload) {
  const auto length = static_cast<uint32_t>(payload.size());
  for (int shift = 0; shift < 32; shift += 8)
    outgoing_.push_back(static_cast<uint8_t>(length >> shift));
  outgoing_.push_back(type);
  outgoing_.insert(outgoing_.end(), payload.begin(), payload.end());
  return Flush().status();
}

Result<bool> MessageStream::Flush() {
  bool moved = false;
  if (held_) return moved;
  while (has_unsent()) {
    Result<size_t> sent = channel_->Send(outgoing_.data() + sent_, outgoing_.size() - sent_);
    if (!sent.ok()) return sent.status();
    if (*sent == 0) return moved;
    sent_ += *sent;
    moved = true;
  }
  outgoing_.clear();
  sent_ = 0;
  return moved;
}

Result<std::optional<Message>> MessageStream::TakeWhole() {
  const size_t available = filled_ - taken_;
  if (available < kHeaderBytes) return std::optional<Message>();
  const uint8_t* start = incoming_.data() + taken_;
  const size_t length = LoadLength(start);
  if (length > max_message_bytes_) {
    return Status(StatusCode::kCorrupt, "a control message of " + std::to_string(length) +
                                            " bytes exceeds the limit of " +
                                            std::to_string(max_message_bytes_));
  }
  if (available < kHeaderBytes + length) return std::optional<Message>();
  taken_ += kHeaderBytes + length;
  return std::optional(Message{start[4], {start + kHeaderBytes, length}});
}

Result<std::optional<Message>> MessageStream::Receive() {
  while (true) {
    Result<std::optional<Message>> whole = TakeWhole();
    if (!whole.ok() || whole->has_value()) return whole;
    if (taken_ > 0) {
      std::memmove(incoming_.data(), incoming_.data() + taken_, filled_ - taken_);
      filled_ -= taken_;
      taken_ = 0;
    }
    size_t wanted = kReadBytes;
    if (filled_ >= kHeaderBytes) {
      wanted = std::max(wanted, kHeaderBytes + LoadLength(incoming_.data()) - filled_);
    }
    if (incoming_.size() < filled_ + wanted) incoming_.resize(filled_ + wanted);
    Result<size_t> received =
        channel_->Receive(incoming_.data() + filled_, incoming_.size() - filled_);
    if (!received.ok()) return received.status();
    if (*received == 0) return std::optional<Message>();
    held_ = false;
    filled_ += *received;
  }
}

}  // namespace rueda::transport
