// ShmGroup: what the members of one process set see of each other's memory.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "backends/copy_observer.h"
#include "core/types.h"
#include "transport/doorbell.h"

namespace rueda::backends {

// A member's contribution to a bucket that is no larger than this: it travels in the cache line
// that says that it is there.
inline constexpr int64_t kInlineBytes = 48;
struct alignas(128) ShmCell {
  std::atomic<uint64_t> number;  // of the inline bucket, from 1 on: written last (release)
  // What comes after the contribution is read, too, so that whole vectors are.
  alignas(16) std::array<uint8_t, 64> payload;
};
static_assert(offsetof(ShmCell, payload) + kInlineBytes == 64);

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
  // Its contributions to inline buckets: to those of even and of odd number.
  std::array<ShmCell, 2> cells;
};

// What a member shows at meetings (backends/one_shot.h).
struct alignas(128) OneShotCell {
  std::atomic<uint64_t> meeting;  // written last (release)
  std::atomic<uint64_t> wish;
  // A contribution that fits in here comes with the cache line.
  alignas(16) std::array<uint8_t, kInlineBytes> payload;
};
static_assert(offsetof(OneShotCell, payload) + kInlineBytes == 64);
struct alignas(128) OneShotMemory {
  std::array<OneShotCell, 2> cells;  // after an even and an odd number of agreements
  // All members': the first one's counts.
  std::atomic<uint64_t> verdict;  // twice the last meeting that has one; odd as the agreements
  std::atomic<uint32_t> is_over;
  alignas(128) std::array<std::array<uint8_t, kMostOneShotBytes>, 2> payloads;
};

struct ShmMember {
  uint8_t* arena = nullptr;  // placements count from here
  uint8_t* staging = nullptr;
  ShmCounters* counters = nullptr;
  transport::Doorbell* doorbell = nullptr;
  OneShotMemory* one_shot = nullptr;  // null in groups that were split off
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
  int64_t one_shot_bytes = 0;      // the largest contribution to a meeting; 0: there are none

  int size() const { return static_cast<int>(members.size()); }
  const ShmMember& own() const { return members[static_cast<size_t>(index)]; }
  void RingOthers() const {
    for (size_t i = 0; i < members.size(); ++i) {
      if (i != static_cast<size_t>(index)) members[i].doorbell->Ring();
    }
  }
};

}  // namespace rueda::backends
