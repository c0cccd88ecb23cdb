#include "transport/shm_channel.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace rueda::transport {
namespace {

constexpr size_t kMask = static_cast<size_t>(kRingDataBytes) - 1;

void CopyIn(uint8_t* ring, uint64_t at, const uint8_t* data, size_t bytes) {
  const size_t start = at & kMask;
  const size_t first = std::min(bytes, static_cast<size_t>(kRingDataBytes) - start);
  std::memcpy(ring + start, data, first);
  std::memcpy(ring, data + first, bytes - first);
}

void CopyOut(const uint8_t* ring, uint64_t at, uint8_t* data, size_t bytes) {
  const size_t start = at & kMask;
  const size_t first = std::min(bytes, static_cast<size_t>(kRingDataBytes) - start);
  std::memcpy(data, ring + start, first);
  std::memcpy(data + first, ring, bytes - first);
}

}  // namespace

ShmChannel::Ring RingAt(uint8_t* base, const ArenaLayout& layout, int from) {
  uint8_t* start = base + layout.rings + layout.ring_stride * from;
  return {reinterpret_cast<RingHeader*>(start), start + layout.ring_stride - kRingDataBytes};
}

ShmChannel::ShmChannel(Ring outgoing, Ring incoming, Doorbell* peer_doorbell, int peer_rank)
    : outgoing_(outgoing),
      incoming_(incoming),
      peer_doorbell_(peer_doorbell),
      peer_rank_(peer_rank) {}

Status ShmChannel::PeerClosed() const {
  return Status(StatusCode::kPeerLost, "rank " + std::to_string(peer_rank_) + " closed its channel")
      .Blame(peer_rank_);
}

Result<size_t> ShmChannel::Send(const uint8_t* data, size_t bytes) {
  if (bytes == 0) return size_t{0};
  RingHeader& ring = *outgoing_.header;
  if (ring.reader_closed.load(std::memory_order_acquire) != 0 ||
      ring.writer_closed.load(std::memory_order_relaxed) != 0) {
    return PeerClosed();
  }
  const uint64_t head = ring.head.load(std::memory_order_relaxed);
  auto room = [&] {
    return static_cast<size_t>(kRingDataBytes) -
           static_cast<size_t>(head - ring.tail.load(std::memory_order_seq_cst));
  };
  size_t moved = std::min(bytes, room());
  if (moved == 0) {
    ring.writer_waits.store(1, std::memory_order_seq_cst);
    moved = std::min(bytes, room());  // the reader may have made room before it could see the flag
    if (moved == 0) return size_t{0};
  }
  CopyIn(outgoing_.data, head, data, moved);
  ring.head.store(head + moved, std::memory_order_release);
  peer_doorbell_->Ring();
  return moved;
}

Result<size_t> ShmChannel::Receive(uint8_t* data, size_t bytes) {
  if (bytes == 0) return size_t{0};
  RingHeader& ring = *incoming_.header;
  const uint64_t tail = ring.tail.load(std::memory_order_relaxed);
  // Read before head: if the writer had closed by now, head is final.
  const bool closed = ring.writer_closed.load(std::memory_order_acquire) != 0;
  const uint64_t arrived = ring.head.load(std::memory_order_acquire) - tail;
  if (arrived == 0) {
    if (closed) return PeerClosed();
    return size_t{0};
  }
  const size_t moved = std::min<size_t>(bytes, arrived);
  CopyOut(incoming_.data, tail, data, moved);
  ring.tail.store(tail + moved, std::memory_order_seq_cst);
  if (ring.writer_waits.load(std::memory_order_seq_cst) != 0) {
    ring.writer_waits.store(0, std::memory_order_relaxed);
    peer_doorbell_->Ring();
  }
  return moved;
}

void ShmChannel::Close() {
  outgoing_.header->writer_closed.store(1, std::memory_order_release);
  incoming_.header->reader_closed.store(1, std::memory_order_release);
  peer_doorbell_->Ring();
}

}  // namespace rueda::transport
