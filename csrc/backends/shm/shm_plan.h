// PlanShm: which scheme moves a bucket through shared memory, and in what units. Pure.
#pragma once

#include <cstdint>

#include "core/bucket.h"

namespace rueda::backends {

enum class ShmScheme {
  kInline,     // tiny: everybody's contribution lies in a cell, and everybody reduces all of them
  kAlone,      // one rank: scale and copy
  kInPlace,    // the owner of a slice reads it from every rank's bucket and writes the sum into all
  kSymmetric,  // small: everybody packs, waits once, and reduces everything into its own output
  kSliced,     // large and private: pack, the owner reduces its slice, everybody copies all slices
  kGather,     // everybody packs, everybody copies everything
  kFromRoot,   // the root packs, the others copy
  kScatter,    // everybody packs pieces of all slices, the owner of a slice reduces it for itself
  kExchange,   // everybody packs, everybody copies what is meant for it
};

struct ShmPlan {
  ShmScheme scheme = ShmScheme::kSymmetric;
  int64_t total_bytes = 0;  // of the longest contribution
  int64_t unit_bytes = 0;   // of each unit but the last
  int64_t units = 0;        // a bucket without bytes has none, a barrier one

  int64_t BytesOf(int64_t unit) const;
};

// Units are whole elements. `size` is the number of members; no unit needs more than half of the
// staging memory. With kScatter, total and unit bytes are those of one member's slice.
ShmPlan PlanShm(const Bucket& bucket, int size, int64_t staging_bytes);

}  // namespace rueda::backends
