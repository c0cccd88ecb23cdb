// PlanLedger: whether all ranks plan the same for the same frame (I1).
#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "bench/simulation/simulated_rank.h"
#include "core/status.h"

namespace rueda::bench {

// Over every field of the buckets and their parts: different for different plans, but for chance.
uint64_t DigestOf(const PlannedSet& planned);

class PlanLedger {
 public:
  // kMismatch, in words, if another rank has planned something else for this frame and set.
  Status Note(uint64_t frame, int rank, const PlannedSet& planned);
  void Clear() { first_.clear(); }

 private:
  struct First {
    int rank;
    uint64_t digest;
    size_t buckets;
  };
  std::map<std::pair<uint64_t, uint32_t>, First> first_;  // by frame and process set
};

}  // namespace rueda::bench
