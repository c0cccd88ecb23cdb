// Byte streams whose every byte is known by its position, and how tests push them through channels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/status.h"
#include "transport/channel.h"
#include "transport/parker.h"

namespace rueda::testing {

inline constexpr uint64_t kWithoutEnd = UINT64_MAX;
inline constexpr uint64_t kExchanged = 2'000'003;  // bytes each way

// Until when a test waits for what must come soon; only a test that fails sees the end.
class Patience {
 public:
  TimePoint end() const { return end_; }
  bool over() const { return SteadyClock().Now() >= end_; }

 private:
  const TimePoint end_ = SteadyClock().Now() + std::chrono::seconds(30);
};

struct ChannelEnd {
  std::unique_ptr<transport::Parker> parker;  // outlives the channel, which may ring it at its end
  std::unique_ptr<transport::Channel> channel;
};

struct ChannelLink {
  std::shared_ptr<void> memory;  // what the ends lie in, if anything
  ChannelEnd first, second;
};

inline void ParkFor(transport::Parker& parker, Duration limit) {
  parker.Park(parker.Prepare(), SteadyClock().Now() + limit);
}

// Not periodic in 256, so that bytes lost or doubled show.
inline uint8_t ByteAt(uint64_t position, uint8_t salt) {
  return static_cast<uint8_t>(((position + 1) * 0x9E3779B97F4A7C15u) >> 56) ^ salt;
}

inline size_t RandomChunk(std::mt19937_64& random) {
  constexpr uint64_t kMost[] = {3, 300, 5'000, 200'000};
  return random() % kMost[random() % std::size(kMost)];
}

class ByteSource {
 public:
  ByteSource(uint8_t salt, uint64_t total) : salt_(salt), total_(total) {}

  Result<size_t> Send(transport::Channel& channel, size_t most) {
    bytes_.resize(static_cast<size_t>(std::min<uint64_t>(most, total_ - sent_)));
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = ByteAt(sent_ + i, salt_);
    Result<size_t> sent = channel.Send(bytes_.data(), bytes_.size());
    if (sent.ok()) sent_ += *sent;
    return sent;
  }
  uint64_t sent() const { return sent_; }
  bool done() const { return sent_ == total_; }

 private:
  uint8_t salt_;
  uint64_t total_;
  uint64_t sent_ = 0;
  std::vector<uint8_t> bytes_;
};

class ByteSink {
 public:
  ByteSink(uint8_t salt, uint64_t total) : salt_(salt), total_(total) {}

  Result<size_t> Receive(transport::Channel& channel, size_t most) {
    bytes_.resize(most);
    Result<size_t> received = channel.Receive(bytes_.data(), most);
    if (!received.ok()) return received;
    for (size_t i = 0; i < *received; ++i) {
      if (wrong_.empty() && bytes_[i] != ByteAt(received_ + i, salt_)) {
        wrong_ = "byte " + std::to_string(received_ + i) + " is wrong";
      }
    }
    received_ += *received;
    if (wrong_.empty() && received_ > total_) wrong_ = "received more than was sent";
    return received;
  }
  uint64_t received() const { return received_; }
  bool done() const { return received_ >= total_; }
  const std::string& wrong() const { return wrong_; }

 private:
  uint8_t salt_;
  uint64_t total_;
  uint64_t received_ = 0;
  std::string wrong_;
  std::vector<uint8_t> bytes_;
};

// Sends until the channel takes nothing, or the source is empty. Large and single bytes, so that
// the last gap is filled too.
inline void FillUp(ByteSource& source, transport::Channel& channel) {
  for (const size_t most : {size_t{70'000}, size_t{1}}) {
    Result<size_t> sent = size_t{1};
    while (sent.ok() && *sent > 0) sent = source.Send(channel, most);
  }
}

// Receives until `total` bytes have come, sleeping in the parker where none have.
inline Status ReceiveUntil(ByteSink& sink, ChannelEnd& end, uint64_t total) {
  const Patience patience;
  while (sink.received() < total) {
    const uint32_t seen = end.parker->Prepare();
    const uint64_t most = std::min<uint64_t>(total - sink.received(), 100'000);
    const Result<size_t> received = sink.Receive(*end.channel, static_cast<size_t>(most));
    if (!received.ok()) return received.status();
    if (patience.over()) return {StatusCode::kTimedOut, "the bytes did not arrive"};
    if (*received == 0) end.parker->Park(seen, patience.end());
  }
  return Status::Ok();
}

inline Status ReceiveByte(ChannelEnd& end, uint8_t* byte) {
  const Patience patience;
  while (true) {
    const uint32_t seen = end.parker->Prepare();
    const Result<size_t> received = end.channel->Receive(byte, 1);
    if (!received.ok()) return received.status();
    if (*received == 1) return Status::Ok();
    if (patience.over()) return {StatusCode::kTimedOut, "the byte did not arrive"};
    end.parker->Park(seen, patience.end());
  }
}

// TCP notices with the second send that nobody is there, and needs its peer's answer for it.
inline Status SendUntilLost(ChannelEnd& end) {
  const Patience patience;
  while (!patience.over()) {
    const uint8_t byte = 0;
    const Result<size_t> sent = end.channel->Send(&byte, 1);
    if (!sent.ok()) return sent.status();
    ParkFor(*end.parker, std::chrono::milliseconds(1));
  }
  return {StatusCode::kTimedOut, "the loss did not show"};
}

// One end of a conversation: sends and receives `total` bytes; "" or what went wrong.
inline std::string Exchange(ChannelEnd& end, uint8_t salt_out, uint8_t salt_in, uint64_t total,
                            uint64_t seed) {
  std::mt19937_64 random(seed);
  ByteSource source(salt_out, total);
  ByteSink sink(salt_in, total);
  const Patience patience;
  while (!source.done() || !sink.done()) {
    const uint32_t seen = end.parker->Prepare();
    const Result<size_t> sent = source.Send(*end.channel, RandomChunk(random));
    if (!sent.ok()) return sent.status().message();
    const Result<size_t> received = sink.Receive(*end.channel, 1 + RandomChunk(random));
    if (!received.ok()) return received.status().message();
    if (patience.over()) {
      return "nobody woke it: sent " + std::to_string(source.sent()) + ", received " +
             std::to_string(sink.received());
    }
    // A chunk of no bytes says nothing about room.
    if (*sent + *received == 0 && (source.done() || *source.Send(*end.channel, 1) == 0)) {
      end.parker->Park(seen, patience.end());
    }
  }
  return sink.wrong();
}

inline std::string SendAll(transport::Channel& channel, uint8_t salt, uint64_t total) {
  ByteSource source(salt, total);
  for (const Patience patience; !source.done() && !patience.over();) {
    const Result<size_t> sent = source.Send(channel, 30'000);
    if (!sent.ok()) return sent.status().message();
    if (*sent == 0) std::this_thread::yield();
  }
  return source.done() ? "" : "not all was taken";
}

inline std::string ReceiveAll(transport::Channel& channel, uint8_t salt, uint64_t total) {
  ByteSink sink(salt, total);
  for (const Patience patience; !sink.done() && !patience.over();) {
    const Result<size_t> received = sink.Receive(channel, 20'000);
    if (!received.ok()) return received.status().message();
    if (*received == 0) std::this_thread::yield();
  }
  return sink.done() ? sink.wrong() : "not all arrived";
}

}  // namespace rueda::testing
