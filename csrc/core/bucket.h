// Bucket: one collective that every member of a process set runs next, as the planner decided it.
#pragma once

#include <cstdint>
#include <vector>

#include "core/types.h"

namespace rueda {

// Everything in a bucket is agreed: every rank holds the same values, so every decision made from
// them (algorithm, chunking, order) is the same everywhere.
struct Bucket {
  OpKind kind = OpKind::kBarrier;
  ReduceOp op = ReduceOp::kSum;
  DType dtype = DType::kUInt8;
  int divisor = 1;  // ranks to divide by for Average, else 1
  double prescale = 1.0;
  double postscale = 1.0;
  int root = -1;
  uint32_t process_set = 0;
  // Elements each rank contributes: one entry for all, except allgather, which has one a rank.
  std::vector<int64_t> counts;
  // Byte offset of the bucket in each rank's arena. Empty: staged, because one rank has it private.
  std::vector<int64_t> placements;

  bool in_place() const { return !placements.empty(); }
};

// This rank's memory for a bucket: the pieces, in order, are its elements (I4). A bucket in place
// is one piece, the span in this rank's arena.
struct BucketBuffers {
  std::vector<TensorView> inputs;
  std::vector<TensorView> outputs;
};

}  // namespace rueda
