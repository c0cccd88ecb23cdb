// CheckBucket: whether the gloo backend can run a bucket, in words.
#pragma once

#include "core/bucket.h"
#include "core/status.h"

namespace rueda::backends {

// Ok, or kUnsupported: an operation, element type or reduction that is not known, counts, a root or
// absent members that do not fit a process set of `size` members. Pure: the same on every rank.
Status CheckBucket(const Bucket& bucket, int size);

}  // namespace rueda::backends
