// ShmGroup: what the members of one process set see of each other's memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "backends/copy_observer.h"
#include "transport/doorbell.h"

namespace rueda::backends {

// One member's progress through the units that the group runs, counted over the whole epoch.
// Written by its owner (release) and read by the others (acquire): what a count promises happened
// before it. Zeroed memory is a member that has done nothing.
struct alignas(128) ShmCounters {
  std::atomic<uint64_t> packed;    // its contribution lies in its staging memory
  std::atomic<uint64_t> reduced;   // its slice of the sum is written
  std::atomic<uint64_t> released;  // it reads nobody's staging memory of these units any more
  // Whether all write past their caches what they stage: the choice of the first member that takes
  // part. A hint, which changes no result.
  std::atomic<uint32_t> streams;
};

struct ShmMember {
  uint8_t* arena = nullptr;  // placements count from here
  uint8_t* staging = nullptr;
  ShmCounters* counters = nullptr;
  transport::Doorbell* doorbell = nullptr;
};

// Zeroed at first.
struct PairMemory {
  uint8_t* staging = nullptr;
  int64_t staging_bytes = 0;
  ShmCounters* counters = nullptr;
};

// All memory outlives the group's backend.
struct ShmGroup {
  int index = 0;  // this rank's place in `members`
  std::vector<ShmMember> members;
  int64_t staging_bytes = 0;
  // Two ranks that send to each other have memory for it from the start: where member i keeps what
  // it shares with member j alone. Null in groups that were split off.
  std::function<PairMemory(int i, int j)> pair_memory;
  CopyObserver* copies = nullptr;  // null: nobody is told

  int size() const { return static_cast<int>(members.size()); }
  const ShmMember& own() const { return members[static_cast<size_t>(index)]; }
};

}  // namespace rueda::backends
