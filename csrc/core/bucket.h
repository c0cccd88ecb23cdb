// Bucket: one collective that every member of a process set runs next, as the planner decided it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/types.h"

namespace rueda {

// Everything in a bucket is agreed: every rank holds the same values, so every decision made from
// them (algorithm, chunking, order) is the same everywhere. Members are counted by their place in
// the set, from 0. Kinds: allreduce, allgather, broadcast, barrier, reducescatter, alltoall (gather
// and scatter, too), reduce.
struct Bucket {
  OpKind kind = OpKind::kBarrier;
  ReduceOp op = ReduceOp::kSum;
  DType dtype = DType::kUInt8;
  int divisor = 1;  // ranks to divide by for Average, else 1
  double prescale = 1.0;
  double postscale = 1.0;
  int root = -1;  // a member
  uint32_t process_set = 0;
  // Elements:
  //   allreduce, broadcast, reduce   one entry, what every member contributes
  //   allgather                      by member, what it contributes
  //   reducescatter                  by member, its part of the result; all contribute their sum
  //   alltoall                       n x n, what member i sends to member j at i * n + j
  std::vector<int64_t> counts;
  // Byte offset of the bucket in each member's arena. Empty: staged, because one has it private.
  std::vector<int64_t> placements;
  // Members that have joined, ascending: they contribute the operation's identity, get no result
  // and own no slice. Never the root.
  std::vector<int> absent;

  bool in_place() const { return !placements.empty(); }
  bool IsAbsent(int member) const {
    return std::find(absent.begin(), absent.end(), member) != absent.end();
  }
};

// This rank's memory for a bucket: the pieces, in order, are its elements (I4), in bytes: a piece
// may be of another dtype than the bucket, as complex numbers are that are added as pairs. A bucket
// in place is one piece, the span in this rank's arena. Allgather, reducescatter and alltoall have
// one input and one output. A reduce has outputs on its root alone; an absent member has no pieces
// at all.
struct BucketBuffers {
  std::vector<TensorView> inputs;
  std::vector<TensorView> outputs;
};

}  // namespace rueda
