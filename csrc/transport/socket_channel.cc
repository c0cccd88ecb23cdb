#include "transport/socket_channel.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace rueda::transport {
namespace {

// A host that loses its power sends no end of its connections; the kernel asks after 5 s of silence
// and gives up after 4 s more. A Unix socket refuses these options and needs none.
void KeepAlive(int socket) {
  const int on = 1, idle_seconds = 5, interval_seconds = 2, probes = 2;
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof interval_seconds);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

// Whether the peer has shut its end, whatever of its bytes is still unread.
bool PeerHasClosed(int socket) {
  pollfd end{socket, POLLRDHUP, 0};
  return ::poll(&end, 1, 0) > 0 && (end.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

}  // namespace

Result<std::unique_ptr<SocketChannel>> SocketChannel::Adopt(UniqueFd socket, int peer_rank) {
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) < 0) {
    return SystemError("cannot use the socket to rank " + std::to_string(peer_rank), errno);
  }
  KeepAlive(socket.get());
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
    const ssize_t sent = ::send(socket_->get(), data, bytes, MSG_NOSIGNAL);
    const bool full = sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    wants_room_ = full || (sent >= 0 && static_cast<size_t>(sent) < bytes);
    if (sent >= 0) return static_cast<size_t>(sent);
    // Behind a full window TCP never resets: the peer's end shows by its own FIN alone.
    if (full && PeerHasClosed(socket_->get())) return Lost("the peer closed it");
    if (full) return size_t{0};
    if (errno != EINTR) return Lost(std::strerror(errno));
  }
}

Result<size_t> SocketChannel::Receive(uint8_t* data, size_t bytes) {
  if (bytes == 0) return size_t{0};
  while (true) {
    const ssize_t received = ::recv(socket_->get(), data, bytes, 0);
    if (received > 0) return static_cast<size_t>(received);
    if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return size_t{0};
    if (received < 0 && errno == EINTR) continue;
    // A parker polls the descriptor: one that is at its end would wake it for ever.
    ended_.store(true, std::memory_order_relaxed);
    return Lost(received == 0 ? "the peer closed it" : std::strerror(errno));
  }
}

void SocketChannel::Close() {
  ended_.store(true, std::memory_order_relaxed);
  ::shutdown(socket_->get(), SHUT_RDWR);
}

}  // namespace rueda::transport
