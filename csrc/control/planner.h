// Planner: turns agreed requests into buckets. Pure; the same answer on every rank.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "control/messages.h"
#include "core/bucket.h"

namespace rueda::control {

// One request of a frame with what was agreed about it. The planner reads only what all ranks
// share: never this rank's placement or first dimension.
struct AgreedRequest {
  const Request* request = nullptr;
  const Response* response = nullptr;  // full, not cached; its error is ok
};

// One tensor's part of a bucket.
struct BucketSlice {
  size_t agreed = 0;  // index into what Plan was given
  size_t tensor = 0;  // index into that request's tensors
};

struct PlannedBucket {
  Bucket bucket;
  std::vector<BucketSlice> slices;  // in order; empty for a barrier
  std::vector<size_t> completes;    // agreed requests whose last part this bucket holds
};

// Rules: requests are planned in the order in which they are given, those of a higher priority
// before those of a lower one, but none across a barrier or join. Requests placed in the arena on
// every rank are buckets of their own, reduced in place. Staged allreduces (and reduces to one
// root) of equal dtype, op, factors and absent ranks share buckets of up to limits.bucket_bytes;
// broadcasts from one root share buckets as bytes; operations whose ranks get different parts are a
// bucket a tensor; a barrier runs after every bucket before it and before every bucket after it. A
// request with no elements is still completed, by the bucket planned for its place in the order.
//
// All requests belong to one process set, and move tensors (or are barriers or joins, which move
// nothing and run like barriers). `ranks` are the set's. Buckets that share run in the place of
// their first tensor. In-place buckets span the whole layout, padding included. Complex numbers are
// reduced as pairs.
std::vector<PlannedBucket> Plan(std::span<const AgreedRequest> agreed, std::span<const int> ranks,
                                const Limits& limits);

}  // namespace rueda::control
