// ReduceTree: the canonical tree over any number of sources, made of one set's loops.
//
// Sources are taken in groups of four. Sums of groups are merged like the digits of a binary
// counter: level k holds the sum of 2^k groups, and a new sum is carried up while the level below
// is full. The last group (1 to 4 sources) is folded with the full levels, lowest first. That is
// exactly sum(lo, hi) = sum(lo, mid) + sum(mid, hi) of reduce.h, in one pass over each source and
// with scratch of fixed size on the stack. Up to four sources there is no level and no block: one
// loop reads all, adds, and writes all destinations.
#pragma once

#include <cstdint>

#include "device/kernel_set.h"

namespace rueda::device {

// Replaces each element x of a block by x / divisor * factor, in the element's own type.
using BlockScaler = void (*)(void* block, int64_t bytes, double divisor, double factor);

struct TreeArgs {
  const void* const* sources = nullptr;
  int source_count = 0;  // at least 1
  void* const* destinations = nullptr;
  int destination_count = 0;
  int64_t bytes = 0;
  double prescale = 1.0;
  double divisor = 1.0;
  double postscale = 1.0;
  // For integers; null where there is nothing to do.
  BlockScaler scale_inputs = nullptr;
  BlockScaler scale_result = nullptr;
};

// Any thread. A destination may be a source: each vector is loaded from all sources before it is
// stored anywhere.
void ReduceTree(const Loops& loops, int64_t vector_bytes, const TreeArgs& args);

}  // namespace rueda::device
