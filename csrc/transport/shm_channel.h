// ShmChannel: a pair of byte rings in shared memory.
#pragma once

#include <atomic>
#include <cstdint>

#include "transport/arena_layout.h"
#include "transport/channel.h"
#include "transport/doorbell.h"

namespace rueda::transport {

// One direction: single producer, single consumer. Zeroed memory is an empty open ring; the data
// follow on the next page. head and tail count bytes and never wrap in practice (2^64).
// Pairing: the writer's store of head with the reader's load (bytes), the reader's store of tail
// with the writer's load (room). writer_waits and tail follow Dekker's pattern: see Doorbell.
struct RingHeader {
  alignas(128) std::atomic<uint64_t> head;  // written by the writer
  std::atomic<uint32_t> writer_closed;
  alignas(128) std::atomic<uint64_t> tail;  // written by the reader
  std::atomic<uint32_t> reader_closed;
  alignas(128) std::atomic<uint32_t> writer_waits;  // set by the writer, cleared by the reader
};

class ShmChannel final : public Channel {
 public:
  struct Ring {
    RingHeader* header = nullptr;
    uint8_t* data = nullptr;
  };

  // `peer_doorbell` is rung when bytes or room appear for the peer. All memory outlives the
  // channel.
  ShmChannel(Ring outgoing, Ring incoming, Doorbell* peer_doorbell, int peer_rank);
  ~ShmChannel() override { Close(); }

  Result<size_t> Send(const uint8_t* data, size_t bytes) override;
  Result<size_t> Receive(uint8_t* data, size_t bytes) override;
  void Close() override;
  int descriptor() const override { return -1; }

 private:
  Status PeerClosed() const;

  Ring outgoing_;
  Ring incoming_;
  Doorbell* peer_doorbell_;
  int peer_rank_;
};

// The inbox from `from` in the arena at `base`.
ShmChannel::Ring RingAt(uint8_t* base, const ArenaLayout& layout, int from);

}  // namespace rueda::transport
