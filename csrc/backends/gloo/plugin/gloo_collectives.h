// GlooCollectives: runs one bucket after another through Gloo, blocking the thread that calls it.
//
// Owns Gloo's context and one scratch buffer that grows to the largest bucket and is kept. One
// thread, on which device::UseDefaultFloatingPointMode() was called. Ends early when the links are
// aborted: while it waits at once, while it copies after at most one chunk.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "backends/gloo/plugin/gloo_transport.h"
#include "backends/gloo/plugin/peer_links.h"
#include "core/bucket.h"
#include "core/status.h"

namespace rueda::backends {

class GlooCollectives {
 public:
  // `links` outlive this.
  explicit GlooCollectives(PeerLinks& links);

  // What Gloo can do here, and with what. The same on every rank.
  static Status Supports(const Bucket& bucket, int size);

  // Runs the bucket to its end. kPeerLost, kTimedOut, kCorrupt, the reason of an abort, or kSystem
  // with Gloo's own words. No exception leaves. After an error the outputs are undefined.
  Status Run(const Bucket& bucket, const BucketBuffers& buffers);

 private:
  Status RunUnguarded(const Bucket& bucket, const BucketBuffers& buffers);
  Status Allreduce(const Bucket& bucket, const BucketBuffers& buffers);
  Status Allgather(const Bucket& bucket, const BucketBuffers& buffers);
  Status Broadcast(const Bucket& bucket, const BucketBuffers& buffers);
  void Barrier();

  uint8_t* Scratch(size_t bytes);
  bool alone() const { return links_.topology().size == 1; }

  PeerLinks& links_;
  const std::shared_ptr<LinkContext> context_;  // Gloo's options keep a reference while they run
  std::unique_ptr<uint8_t[]> scratch_;
  size_t scratch_bytes_ = 0;
  // Counts buckets, so that a rank that runs another bucket (I1) is found out by the slot.
  uint32_t tag_ = 0;
};

}  // namespace rueda::backends
