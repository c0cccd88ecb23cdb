// SocketChannel: a connected stream socket, Unix or TCP, that both ends have proven already.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

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
  // What a forked child calls on its copy, so that the peer notices when this process ends.
  std::function<void()> ForkCloser() const {
    return [socket = socket_] { socket->reset(); };
  }
  bool wants_room() const override { return wants_room_; }
  int descriptor() const override { return ended() ? -1 : socket_->get(); }

 private:
  SocketChannel(UniqueFd socket, int peer_rank)
      : socket_(std::make_shared<UniqueFd>(std::move(socket))), peer_rank_(peer_rank) {}
  Status Lost(const char* how) const;
  bool ended() const { return ended_.load(std::memory_order_relaxed); }

  // Shared with the closer for forked children, which must know when it is closed already.
  std::shared_ptr<UniqueFd> socket_;
  int peer_rank_;
  bool wants_room_ = false;
  // Nothing more will arrive. Atomic, because another thread may send; it orders nothing.
  std::atomic<bool> ended_{false};
};

}  // namespace rueda::transport
