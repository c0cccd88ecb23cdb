#include "transport/socket_channel.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace rueda::transport {

Result<std::unique_ptr<SocketChannel>> SocketChannel::Adopt(UniqueFd socket, int peer_rank) {
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) < 0) {
    return SystemError("cannot use the socket to rank " + std::to_string(peer_rank), errno);
  }
  return std::unique_ptr<SocketChannel>(new SocketChannel(std::move(socket), peer_rank));
}

Status SocketChannel::Lost(const char* how) const {
  return Status(StatusCode::kPeerLost,
                "the connection to rank " + std::to_string(peer_rank_) + " ended: " + how)
      .Blame(peer_rank_);
}

Result<size_t> SocketChannel::Send(const uint8_t* data, size_t bytes) {
  if (bytes == 0) return size_t{0};
  while (true) {
    const ssize_t sent = ::send(socket_.get(), data, bytes, MSG_NOSIGNAL);
    const bool full = sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    wants_room_ = full || (sent >= 0 && static_cast<size_t>(sent) < bytes);
    if (sent >= 0) return static_cast<size_t>(sent);
    if (full) return size_t{0};
    if (errno != EINTR) return Lost(std::strerror(errno));
  }
}

Result<size_t> SocketChannel::Receive(uint8_t* data, size_t bytes) {
  if (bytes == 0) return size_t{0};
  while (true) {
    const ssize_t received = ::recv(socket_.get(), data, bytes, 0);
    if (received > 0) return static_cast<size_t>(received);
    if (received == 0) return Lost("the peer closed it");
    if (errno == EAGAIN || errno == EWOULDBLOCK) return size_t{0};
    if (errno != EINTR) return Lost(std::strerror(errno));
  }
}

void SocketChannel::Close() { ::shutdown(socket_.get(), SHUT_RDWR); }

}  // namespace rueda::transport
