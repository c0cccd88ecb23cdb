// TestSet: a process set of a test's ranks, from the memory it is given to its split backends.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "backend_buckets.h"
#include "backend_world.h"

namespace rueda::testing {

class TestSet {
 public:
  // Main thread: finds memory for the set in its members' arenas. `parent` outlives this.
  TestSet(BackendWorld& parent, uint32_t process_set, std::vector<int> members) {
    subset_.process_set = process_set;
    subset_.members = std::move(members);
    world_.parent = &parent;
    world_.backends.resize(subset_.members.size());
    const int64_t bytes = parent.backend(0).SplitBytes();
    for (const int rank : subset_.members) {
      world_.alarms.push_back(parent.alarms[static_cast<size_t>(rank)]);
      if (bytes == 0) continue;
      memory_.push_back(parent.place(rank, bytes));
      subset_.memory.push_back(memory_.back().offset);
    }
    if (parent.place == nullptr) return;
    world_.place = [&parent, ranks = subset_.members](int place, int64_t wanted) {
      return parent.place(ranks[static_cast<size_t>(place)], wanted);
    };
  }
  TestSet(const TestSet&) = delete;
  TestSet& operator=(const TestSet&) = delete;

  // The set as a world of its own, whose ranks are the members' places.
  BackendWorld& world() { return world_; }
  const std::vector<int>& members() const { return subset_.members; }
  uint32_t process_set() const { return subset_.process_set; }
  int size() const { return world_.size(); }

  // -1 for a rank that is no member.
  int PlaceOf(int rank) const {
    const auto at = std::find(subset_.members.begin(), subset_.members.end(), rank);
    return at == subset_.members.end() ? -1 : static_cast<int>(at - subset_.members.begin());
  }

  // A member's thread.
  Status Split(int rank) {
    Result<std::unique_ptr<backends::Backend>> split = world_.parent->backend(rank).Split(subset_);
    if (!split.ok()) {
      world_.parent->Abort(split.status());
      return split.status();
    }
    Backend(rank) = std::move(*split);
    return Status::Ok();
  }
  void Destroy(int rank) { Backend(rank).reset(); }

 private:
  std::unique_ptr<backends::Backend>& Backend(int rank) {
    return world_.backends[static_cast<size_t>(PlaceOf(rank))];
  }

  backends::Subset subset_;
  std::vector<PlacedMemory> memory_;  // by place; outlives the backends
  BackendWorld world_;
};

// The ranks whose bits are set.
inline std::vector<int> MembersOf(uint64_t bits) {
  std::vector<int> members;
  for (int rank = 0; rank < kMostRanks; ++rank) {
    if ((bits >> rank & 1) != 0) members.push_back(rank);
  }
  return members;
}

inline std::vector<int> RandomMembers(std::mt19937_64& random, int size) {
  return MembersOf(1 + random() % ((uint64_t{1} << size) - 1));
}

// A bucket in place in the members' arenas, or a staged one where a backend has none.
inline BackendCase PlacedCase(const BackendWorld& world, uint32_t process_set, int64_t count,
                              uint64_t seed) {
  Bucket bucket = AllreduceBucket(DType::kFloat32, ReduceOp::kAverage, world.size());
  bucket.process_set = process_set;
  const Memory memory = world.place == nullptr ? Memory::kShared : Memory::kPlaced;
  return {bucket, {count}, memory, seed};
}

}  // namespace rueda::testing
