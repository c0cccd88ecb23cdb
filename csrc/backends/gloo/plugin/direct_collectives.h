// DirectCollectives: alltoall, reducescatter and reduce, each message straight to whom it is for.
//
// Gloo's reduce-scatter is made for its old transport buffers; its alltoallv copies this rank's own
// part in one piece that no abort ends; its reduce adds in ring order. So these three are ours: all
// transfers are posted at once, and the owner of a part adds up all contributions to it with
// device::Reduce, in the canonical order (docs/architecture.md, "Numbers"). That moves as many
// bytes as a ring does (Patarasuk and Yuan, see collectives/slices.h) in one round instead of n
// - 1.
//
// An absent member sends and receives nothing: zeros stand at its place of a sum, Min, Max and
// Product leave it out. One thread, on which device::UseDefaultFloatingPointMode() was called.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/gloo/plugin/link_group.h"
#include "backends/gloo/plugin/scratch.h"
#include "collectives/slices.h"
#include "core/bucket.h"
#include "core/status.h"

namespace rueda::backends {

// One transfer of a set's member.
struct Message {
  int member = 0;
  uint8_t* data = nullptr;
  int64_t bytes = 0;
};

class DirectCollectives {
 public:
  // Both outlive this.
  DirectCollectives(const LinkGroup& group, Scratch& scratch) : group_(group), scratch_(scratch) {}

  // `tag` differs from that of the buckets before. Each runs a bucket that CheckBucket lets pass to
  // its end and fails as GlooCollectives::Run says; std::bad_alloc may leave.
  Status Alltoall(uint32_t tag, const Bucket& bucket, const BucketBuffers& buffers);
  Status Reducescatter(uint32_t tag, const Bucket& bucket, const BucketBuffers& buffers);
  Status Reduce(uint32_t tag, const Bucket& bucket, const BucketBuffers& buffers);

 private:
  using Parts = std::vector<collectives::Range>;  // by member, in bytes

  // Sends and receives all of them, in whatever order they go. Empty ones are left out.
  Status Exchange(uint64_t slot, std::span<const Message> sends, std::span<const Message> receives);
  // Adds up this member's part of everybody's `row` into `result`, which may be the part itself.
  // `received` has room for the part once for each member, and for one chunk.
  Status ReduceParts(uint64_t slot, const Bucket& bucket, const Parts& parts, uint8_t* row,
                     uint8_t* received, uint8_t* result);
  // The members' parts of the result, which lie at `result` of each, into the root's row there.
  Status GatherAtRoot(uint64_t slot, const Bucket& bucket, const Parts& parts, uint8_t* result);
  Status AddUp(const Bucket& bucket, std::span<const uint8_t* const> contributions, uint8_t* zeros,
               uint8_t* result, int64_t bytes) const;
  // Which member adds up which part of a reduce.
  Parts PartsOfReduce(const Bucket& bucket) const;
  // Of the memory that ReduceParts wants at `received`.
  int64_t ReceivedBytes(const Parts& parts) const;
  const collectives::Range& OwnOf(const Parts& parts) const;

  const LinkGroup& group_;
  Scratch& scratch_;
};

}  // namespace rueda::backends
