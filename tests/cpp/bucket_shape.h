// What each member of a process set puts into a bucket and gets out of it, said in the plainest
// way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "core/bucket.h"
#include "core/dtype.h"
#include "core/types.h"

namespace rueda::testing {

inline int64_t Total(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

// Whether every member has as many elements in as out, in tensors of the same sizes.
inline bool KeepsShape(OpKind kind) {
  return kind == OpKind::kAllreduce || kind == OpKind::kBroadcast || kind == OpKind::kReduce ||
         kind == OpKind::kBarrier;
}

inline int64_t SentInAlltoall(const Bucket& bucket, int size, int from, int to) {
  return bucket.counts.at(static_cast<size_t>(from * size + to));
}

// Elements that a member contributes.
inline int64_t CountIn(const Bucket& bucket, int size, int member) {
  if (bucket.kind == OpKind::kBarrier || bucket.IsAbsent(member)) return 0;
  if (bucket.kind == OpKind::kAllgather) return bucket.counts.at(static_cast<size_t>(member));
  if (bucket.kind != OpKind::kAlltoall) return Total(bucket.counts);
  int64_t count = 0;
  for (int to = 0; to < size; ++to) count += SentInAlltoall(bucket, size, member, to);
  return count;
}

// Elements that a member gets.
inline int64_t CountOut(const Bucket& bucket, int size, int member) {
  if (bucket.kind == OpKind::kBarrier || bucket.IsAbsent(member)) return 0;
  if (bucket.kind == OpKind::kReduce && member != bucket.root) return 0;
  if (bucket.kind == OpKind::kReducescatter) return bucket.counts.at(static_cast<size_t>(member));
  if (bucket.kind != OpKind::kAlltoall) return Total(bucket.counts);
  int64_t count = 0;
  for (int from = 0; from < size; ++from) count += SentInAlltoall(bucket, size, from, member);
  return count;
}

// Where a member's part of a reducescatter begins, in elements.
inline int64_t FirstOut(const Bucket& bucket, int member) {
  if (bucket.kind != OpKind::kReducescatter) return 0;
  return std::accumulate(bucket.counts.begin(), bucket.counts.begin() + member, int64_t{0});
}

// The bytes that a member gets from a bucket that only moves them; `rows` are the contributions.
inline std::vector<uint8_t> MovedTo(const Bucket& bucket, int member,
                                    const std::vector<std::vector<uint8_t>>& rows) {
  std::vector<uint8_t> result;
  if (bucket.kind == OpKind::kBarrier || bucket.IsAbsent(member)) return result;
  const int size = static_cast<int>(rows.size());
  for (int from = 0; from < size; ++from) {
    const std::vector<uint8_t>& row = rows[static_cast<size_t>(from)];
    auto begin = row.begin(), end = row.end();
    if (bucket.kind == OpKind::kBroadcast && from != bucket.root) continue;
    if (bucket.kind == OpKind::kAlltoall) {
      const auto element = static_cast<int64_t>(SizeOf(bucket.dtype));
      for (int to = 0; to < member; ++to) begin += SentInAlltoall(bucket, size, from, to) * element;
      end = begin + SentInAlltoall(bucket, size, from, member) * element;
    }
    result.insert(result.end(), begin, end);
  }
  return result;
}

}  // namespace rueda::testing
