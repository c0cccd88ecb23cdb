// SocketChannel: a connected stream socket, Unix or TCP, that both ends have proven already.
#pragma once

#include <atomic>
#include <memory>

#include "transport/channel.h"
#include "transport/unique_fd.h"

namespace rueda::transport {

class SocketChannel final : public Channel {
 public:
  // Takes the socket over and makes it non-blocking.
  static Result<std::unique_ptr<SocketChannel>> Adopt(UniqueFd socket, int peer_rank);

  Result<size_t> Send(const uint8_t* data, size_t bytes) override;
  Result<size_t> Receive(uint8_t* data, size_t bytes) override;
  void Close() override;
  bool wants_room() const override { return wants_room_; }
  int descriptor() const override { return ended() ? -1 : socket_.get(); }

 private:
  SocketChannel(UniqueFd socket, int peer_rank) : socket_(std::move(socket)), peer_rank_(peer_rank) {}
  Status Lost(const char* how) const;
  bool ended() const { return ended_.load(std::memory_order_relaxed); }

  UniqueFd socket_;
  int peer_rank_;
  bool wants_room_ = false;
  // Nothing more will arrive. Atomic, because another thread may send; it orders nothing.
  std::atomic<bool> ended_{false};
};

}  // namespace rueda::transport
