// ArenaLayout: where everything lies in a rank's arena. Pure; peers compute the same.
#pragma once

#include <cstdint>

namespace rueda::transport {

inline constexpr int64_t kPageBytes = 4096;
inline constexpr int64_t kRingDataBytes = int64_t{64} << 10;  // power of two
// Staging memory of two ranks that stays in a second cache of 1 MiB each: measured on AMD Zen 4
// with chunks of 512 KiB, 64 MiB took twice as long (docs/performance.md, "What was tried").
inline constexpr int64_t kStagingChunkBytes = int64_t{128} << 10;
inline constexpr int64_t kStagingSlots = 8;
inline constexpr int64_t kOneShotSpan = int64_t{34} << 10;        // for backends/shm/shm_one_shot.h
inline constexpr int64_t kPairStagingBytes = int64_t{256} << 10;  // of two ranks that send

// Offset that sets the staging and heap of one rank apart from its neighbour's, so that the same
// element of different ranks never has the same low address bits: an odd number of pages and of
// cache lines. Measured without it on AMD Zen 4: up to 7 times slower (docs/architecture.md,
// "Memory").
inline constexpr int64_t kSkewBytes = 19 * kPageBytes + 17 * 64;

struct ArenaLayout {
  int64_t control = 0;  // one ControlPage
  int64_t rings = 0;    // the inbox from each rank: ring_stride bytes apart
  int64_t ring_stride = 0;
  int64_t flags = 0;     // one page of collective counters
  int64_t staging = 0;   // kStagingSlots chunks, skewed by rank
  int64_t one_shot = 0;  // kOneShotSpan bytes, aligned to 128
  int64_t pairs = 0;  // what is shared with each rank alone: pair_stride bytes apart, page aligned
  int64_t pair_stride = 0;
  int64_t heap = 0;  // page aligned
  int64_t heap_end = 0;
  int64_t skew_in_page = 0;  // of every heap span, by rank

  // For an arena of `arena_bytes` of one of `size` ranks. heap_end <= heap when it is too small.
  static ArenaLayout For(int rank, int size, int64_t arena_bytes);
};

// The least arena that has a heap at all.
int64_t SmallestArena(int size);

}  // namespace rueda::transport
