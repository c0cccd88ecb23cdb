// Arena: the memory of one rank that its peers on the host map as well.
//
// A sparse sealed memfd without a name, sized once. The front holds control words, rings and
// staging slots; the rest is a heap for buckets that are reduced in place. Peers trust each other
// (same user), but a size or magic that does not fit is refused. docs/architecture.md, "Memory".
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/status.h"
#include "transport/arena_layout.h"
#include "transport/unique_fd.h"

namespace rueda::transport {

// Makes the memfd of one rank: sealed against shrinking and growing, closed on exec.
Result<UniqueFd> CreateArenaFile(int64_t bytes);

// One rank's arena as mapped into this process. The mapping lives as long as the object.
class ArenaMapping {
 public:
  // Maps the whole file; kCorrupt if its size or seals are not what an arena has.
  static Result<std::shared_ptr<ArenaMapping>> Map(const UniqueFd& file);
  ~ArenaMapping();
  ArenaMapping(const ArenaMapping&) = delete;
  ArenaMapping& operator=(const ArenaMapping&) = delete;

  uint8_t* base() const { return base_; }
  int64_t bytes() const { return bytes_; }

 private:
  ArenaMapping(uint8_t* base, int64_t bytes) : base_(base), bytes_(bytes) {}
  uint8_t* base_;
  int64_t bytes_;
};

// A span of this rank's own arena. Peers write into it only while a bucket placed in it runs.
class ArenaBuffer;

// Hands out spans of the heap part of this rank's own arena. Any thread.
class ArenaHeap : public std::enable_shared_from_this<ArenaHeap> {
 public:
  ArenaHeap(std::shared_ptr<ArenaMapping> mapping, ArenaLayout layout, int rank);

  // Zeroed memory that starts on a cache line, skewed by rank so that the same span of different
  // ranks never shares the low address bits (docs/architecture.md, "Memory"). kSystem when full.
  Result<std::shared_ptr<ArenaBuffer>> Allocate(int64_t bytes);

  // The memory at a byte offset of the arena, such as a buffer's.
  uint8_t* At(int64_t offset) const { return mapping_->base() + offset; }

  // Replaces every live span by a private copy at the same address, and the rest of the mapping by
  // empty private memory, so that no peer can reach it any more and views outlive the epoch.
  // Nothing can be allocated afterwards. Idempotent.
  void Sever();

 private:
  friend class ArenaBuffer;
  struct Span {
    int64_t offset = 0;
    int64_t bytes = 0;
  };
  void Free(Span span);

  const std::shared_ptr<ArenaMapping> mapping_;
  const ArenaLayout layout_;
  const int rank_;
  std::mutex mutex_;
  std::vector<Span> free_;  // by offset, no two adjacent; guarded by mutex_
  std::vector<Span> live_;  // guarded by mutex_
  bool severed_ = false;    // guarded by mutex_
};

class ArenaBuffer {
 public:
  ArenaBuffer(std::shared_ptr<ArenaHeap> heap, ArenaHeap::Span span, int64_t skew, int64_t bytes);
  ~ArenaBuffer();
  ArenaBuffer(const ArenaBuffer&) = delete;
  ArenaBuffer& operator=(const ArenaBuffer&) = delete;

  uint8_t* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  // Byte offset in the arena: a Request's placement.
  int64_t offset() const { return offset_; }

 private:
  std::shared_ptr<ArenaHeap> heap_;
  ArenaHeap::Span span_;
  int64_t offset_;
  int64_t bytes_;
  uint8_t* data_;
};

}  // namespace rueda::transport
