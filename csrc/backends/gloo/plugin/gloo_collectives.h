// GlooCollectives: runs the buckets of one process set, one after another, blocking its thread.
//
// All-reduce, all-gather, broadcast and barrier are Gloo's algorithms; the others are
// DirectCollectives. Owns Gloo's context. One thread, on which
// device::UseDefaultFloatingPointMode() was called. Ends early when the links are aborted: while it
// waits at once, while it copies after at most one chunk.
//
// Gloo needs every member of its context, so one that has joined takes part too: with the identity
// of the operation, in scratch memory.
#pragma once

#include <cstdint>
#include <memory>

#include "backends/gloo/plugin/direct_collectives.h"
#include "backends/gloo/plugin/gloo_transport.h"
#include "backends/gloo/plugin/link_group.h"
#include "backends/gloo/plugin/scratch.h"
#include "core/bucket.h"
#include "core/status.h"

namespace rueda::backends {

class GlooCollectives {
 public:
  // Both outlive this. Several sets may share one scratch, since one bucket runs at a time.
  GlooCollectives(const LinkGroup& group, Scratch& scratch);

  // Runs a bucket that CheckBucket lets pass to its end. kPeerLost, kTimedOut, kCorrupt, the reason
  // of an abort, kInvalidArgument for memory that does not fit, or kSystem with Gloo's own words.
  // No exception leaves. After an error the outputs are undefined.
  Status Run(const Bucket& bucket, const BucketBuffers& buffers);

 private:
  Status RunUnguarded(const Bucket& bucket, const BucketBuffers& buffers);
  Status Allreduce(const Bucket& bucket, const BucketBuffers& buffers);
  Status AllreduceAbsent(const Bucket& bucket);
  void AddUp(const Bucket& bucket, void* accumulators);
  Status Allgather(const Bucket& bucket, const BucketBuffers& buffers);
  Status Broadcast(const Bucket& bucket, const BucketBuffers& buffers);
  void Barrier();

  // Of the bucket under way, different from those before it: how a rank that runs another bucket
  // (I1) is found out.
  uint32_t Tag() const;
  bool alone() const { return group_.size() == 1; }

  const LinkGroup& group_;
  PeerLinks& links_;
  Scratch& scratch_;
  DirectCollectives direct_;
  const std::shared_ptr<LinkContext> context_;  // Gloo's options keep a reference while they run
  uint32_t buckets_ = 0;                        // begun
};

}  // namespace rueda::backends
