// The small values that every layer shares: operations, tensor views, topology.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace rueda {

// What the ranks do together. Numbers travel on the wire: append, never renumber.
enum class OpKind : uint8_t {
  kAllreduce = 0,
  kAllgather = 1,
  kBroadcast = 2,
  kBarrier = 3,
  kReducescatter = 4,
  kAlltoall = 5,
  kReduce = 6,   // an allreduce whose result the root alone gets
  kGather = 7,   // an allgather whose result the root alone gets
  kScatter = 8,  // an alltoall to which the root alone contributes
  // Of the engine itself; they move no tensors.
  kJoin = 9,
  kAddProcessSet = 10,
  kRemoveProcessSet = 11,
};
inline constexpr int kOpKindCount = 12;
std::string_view NameOf(OpKind kind);
// Whether its result is a reduction of all contributions, one rank's tensor matters more than the
// others', and ranks may differ in the first dimension.
bool Reduces(OpKind kind);
bool HasRoot(OpKind kind);
bool IsUneven(OpKind kind);
// Whether ranks get results of different sizes, which only the agreement tells.
bool PartsDiffer(OpKind kind);

// How elements of several ranks become one. The numbers are Horovod's.
enum class ReduceOp : uint8_t { kAverage = 0, kSum = 1, kMin = 3, kMax = 4, kProduct = 5 };
std::string_view NameOf(ReduceOp op);
bool IsValid(ReduceOp op);

// Memory of one contiguous tensor. Owns nothing; valid between Submit and completion (I4).
struct TensorView {
  void* data = nullptr;
  int64_t count = 0;  // elements
  DType dtype = DType::kFloat32;

  size_t bytes() const { return static_cast<size_t>(count) * SizeOf(dtype); }
};

// The most that a rank may contribute to an all-reduce at a meeting (backends/one_shot.h).
inline constexpr int64_t kMostOneShotBytes = int64_t{16} << 10;

// A peer as error messages name it.
struct PeerName {
  std::string host;
  int64_t pid = 0;
};

// Who this rank is, in Horovod's words; fixed for an epoch.
struct Topology {
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int local_size = 1;
  int cross_rank = 0;
  int cross_size = 1;
  std::vector<PeerName> peers;  // by rank; empty in tests that need no names

  // "rank 3 (pid 4711 on node7)", or "rank 3" where no name is known.
  std::string Describe(int other_rank) const;
};

}  // namespace rueda
