#include "bench/socket_procedure.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace rueda::bench {
namespace {

// Of one call into the kernel: larger ones fall out of the cache before they are added.
constexpr size_t kChunkBytes = size_t{256} << 10;
constexpr int kPollLimitMs = 120'000;

Result<transport::UniqueFd> Duplicate(int socket) {
  transport::UniqueFd copy(::fcntl(socket, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return SystemError("duplicating a socket", errno);
  return copy;
}

bool WouldBlock(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

Result<std::unique_ptr<SocketProcedure>> SocketProcedure::Make(int rank, int size, int next,
                                                               int previous,
                                                               const Collective& collective) {
  if (collective.kind != OpKind::kAllreduce || collective.op == ReduceOp::kAverage) {
    return Status(StatusCode::kUnsupported, "raw sockets do all-reduces without Average alone");
  }
  std::unique_ptr<SocketProcedure> made(new SocketProcedure());
  made->rank_ = rank;
  made->size_ = size;
  if (size > 1) {
    auto to = Duplicate(next);
    if (!to.ok()) return to.status();
    auto from = Duplicate(previous);
    if (!from.ok()) return from.status();
    made->next_ = std::move(*to);
    made->previous_ = std::move(*from);
  }
  made->spec_.dtype = collective.dtype;
  made->spec_.op = collective.op;
  made->element_bytes_ = SizeOf(collective.dtype);
  made->bytes_ = static_cast<size_t>(collective.count) * made->element_bytes_;
  made->memory_ = AllocateMemory(static_cast<int64_t>(made->bytes_));
  made->arriving_ = AllocateMemory(static_cast<int64_t>(kChunkBytes));
  device::UseDefaultFloatingPointMode();
  return made;
}

SocketProcedure::Transfer SocketProcedure::Slice(int index) const {
  const auto ranks = static_cast<size_t>(size_);
  const auto slice = static_cast<size_t>((index % size_ + size_) % size_);
  const size_t count = bytes_ / element_bytes_;
  const size_t begin = count * slice / ranks * element_bytes_;
  const size_t end = count * (slice + 1) / ranks * element_bytes_;
  return {memory_.get() + begin, end - begin, 0};
}

Status SocketProcedure::Call() {
  for (int step = 0; step + 1 < size_; ++step) {
    RUEDA_RETURN_IF_ERROR(Step(rank_ - step, rank_ - step - 1, true));
  }
  for (int step = 0; step + 1 < size_; ++step) {
    RUEDA_RETURN_IF_ERROR(Step(rank_ - step + 1, rank_ - step, false));
  }
  return Status::Ok();
}

Status SocketProcedure::Step(int sent_slice, int received_slice, bool adds) {
  Transfer out = Slice(sent_slice);
  Transfer in = Slice(received_slice);
  while (!out.over() || !in.over()) {
    const size_t before = out.done + in.done + arrived_;
    if (!out.over()) RUEDA_RETURN_IF_ERROR(Send(&out));
    if (!in.over()) RUEDA_RETURN_IF_ERROR(Receive(&in, adds));
    if (out.done + in.done + arrived_ == before) {
      RUEDA_RETURN_IF_ERROR(AwaitReady(!out.over(), !in.over()));
    }
  }
  return Status::Ok();
}

Status SocketProcedure::Send(Transfer* out) {
  const size_t bytes = std::min(out->bytes - out->done, kChunkBytes);
  const ssize_t sent =
      ::send(next_.get(), out->data + out->done, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) return WouldBlock(errno) ? Status::Ok() : SystemError("sending to a rank", errno);
  out->done += static_cast<size_t>(sent);
  return Status::Ok();
}

// Whole elements are added as they come; the rest of one waits in front of what comes next.
Status SocketProcedure::Receive(Transfer* in, bool adds) {
  uint8_t* const place = adds ? arriving_.get() + arrived_ : in->data + in->done;
  const size_t room = adds ? kChunkBytes - arrived_ : kChunkBytes;
  const size_t bytes = std::min(in->bytes - in->done - arrived_, room);
  const ssize_t got = ::recv(previous_.get(), place, bytes, MSG_DONTWAIT);
  if (got == 0) return Status(StatusCode::kPeerLost, "a rank closed its benchmark connection");
  if (got < 0) {
    return WouldBlock(errno) ? Status::Ok() : SystemError("receiving from a rank", errno);
  }
  if (!adds) {
    in->done += static_cast<size_t>(got);
    return Status::Ok();
  }
  arrived_ += static_cast<size_t>(got);
  const size_t whole = arrived_ / element_bytes_ * element_bytes_;
  uint8_t* const sum = in->data + in->done;
  const std::array<const void*, 2> sources{sum, arriving_.get()};
  const std::array<void*, 1> destinations{sum};
  device::Reduce(spec_, sources, destinations, static_cast<int64_t>(whole / element_bytes_));
  in->done += whole;
  arrived_ -= whole;
  std::memmove(arriving_.get(), arriving_.get() + whole, arrived_);
  return Status::Ok();
}

Status SocketProcedure::AwaitReady(bool sends, bool receives) {
  std::array<pollfd, 2> sides{{{next_.get(), static_cast<short>(sends ? POLLOUT : 0), 0},
                               {previous_.get(), static_cast<short>(receives ? POLLIN : 0), 0}}};
  const int ready = ::poll(sides.data(), sides.size(), kPollLimitMs);
  if (ready == 0) return Status(StatusCode::kTimedOut, "a rank did not come to a collective");
  if (ready < 0 && errno != EINTR) return SystemError("waiting for a rank's bytes", errno);
  return Status::Ok();
}

}  // namespace rueda::bench
