#include "core/types.h"

namespace rueda {

std::string_view NameOf(OpKind kind) {
  switch (kind) {
    case OpKind::kAllreduce:
      return "allreduce";
    case OpKind::kAllgather:
      return "allgather";
    case OpKind::kBroadcast:
      return "broadcast";
    case OpKind::kBarrier:
      return "barrier";
    case OpKind::kReducescatter:
      return "reducescatter";
    case OpKind::kAlltoall:
      return "alltoall";
    case OpKind::kReduce:
      return "reduce";
    case OpKind::kGather:
      return "gather";
    case OpKind::kScatter:
      return "scatter";
    case OpKind::kJoin:
      return "join";
    case OpKind::kAddProcessSet:
      return "add_process_set";
    case OpKind::kRemoveProcessSet:
      return "remove_process_set";
  }
  return "unknown operation";
}

bool Reduces(OpKind kind) {
  return kind == OpKind::kAllreduce || kind == OpKind::kReducescatter || kind == OpKind::kReduce;
}

bool HasRoot(OpKind kind) {
  return kind == OpKind::kBroadcast || kind == OpKind::kReduce || kind == OpKind::kGather ||
         kind == OpKind::kScatter;
}

bool IsUneven(OpKind kind) {
  return kind == OpKind::kAllgather || kind == OpKind::kAlltoall || kind == OpKind::kGather ||
         kind == OpKind::kScatter;
}

bool PartsDiffer(OpKind kind) { return IsUneven(kind) || kind == OpKind::kReducescatter; }

std::string_view NameOf(ReduceOp op) {
  switch (op) {
    case ReduceOp::kAverage:
      return "Average";
    case ReduceOp::kSum:
      return "Sum";
    case ReduceOp::kMin:
      return "Min";
    case ReduceOp::kMax:
      return "Max";
    case ReduceOp::kProduct:
      return "Product";
  }
  return "unknown op";
}

bool IsValid(ReduceOp op) { return NameOf(op) != "unknown op"; }

std::string Topology::Describe(int other_rank) const {
  std::string text = "rank " + std::to_string(other_rank);
  if (other_rank < 0 || static_cast<size_t>(other_rank) >= peers.size()) return text;
  const PeerName& peer = peers[static_cast<size_t>(other_rank)];
  if (peer.pid == 0) return text;
  return text + " (pid " + std::to_string(peer.pid) + " on " + peer.host + ")";
}

}  // namespace rueda
