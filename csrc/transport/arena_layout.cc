#include "transport/arena_layout.h"

#include "transport/shm_channel.h"

namespace rueda::transport {
namespace {

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

ArenaLayout ArenaLayout::For(int rank, int size, int64_t arena_bytes) {
  ArenaLayout layout;
  layout.rings = kPageBytes;
  layout.ring_stride =
      RoundUp(static_cast<int64_t>(sizeof(RingHeader)), kPageBytes) + kRingDataBytes;
  layout.flags = layout.rings + layout.ring_stride * size;
  const int64_t skew = kSkewBytes * rank;
  layout.staging = layout.flags + kPageBytes + skew;
  layout.skew_in_page = skew % kPageBytes;
  const int64_t staging_end = layout.staging + kStagingSlots * kStagingChunkBytes;
  layout.one_shot = RoundUp(staging_end, 128);
  layout.pairs = RoundUp(layout.one_shot + kOneShotSpan, kPageBytes);
  layout.pair_stride = kPageBytes + kPairStagingBytes;
  layout.heap = layout.pairs + layout.pair_stride * size;
  layout.heap_end = arena_bytes / kPageBytes * kPageBytes;
  return layout;
}

int64_t SmallestArena(int size) {
  return ArenaLayout::For(size - 1, size, 0).heap + 16 * kPageBytes;
}

}  // namespace rueda::transport
