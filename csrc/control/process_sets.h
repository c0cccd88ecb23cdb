// ProcessSets: the coordinator's registry of who belongs to which process set, and who has left.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "core/status.h"

namespace rueda::control {

// A fixed subset of the ranks. A member is known by its place among the set's ascending ranks.
class ProcessSet {
 public:
  // `ranks` ascend, are below `size` and differ.
  ProcessSet(std::vector<int> ranks, int size);

  size_t size() const { return ranks_.size(); }
  const std::vector<int>& ranks() const { return ranks_; }
  // -1 if the rank is none.
  int MemberOf(int rank) const { return member_of_[static_cast<size_t>(rank)]; }
  // The member that left first, or -1 while all are here.
  int first_departed() const { return first_departed_; }
  void Leave(int rank);

 private:
  std::vector<int> ranks_;
  std::vector<int> member_of_;  // by rank
  int first_departed_ = -1;
};

class ProcessSets {
 public:
  // Knows set 0, all ranks.
  explicit ProcessSets(int size);

  // kInvalidArgument if the id is taken or the ranks are none, repeated or out of range.
  Status Add(uint32_t id, std::vector<int> ranks);
  // Null if there is none. Stays valid.
  const ProcessSet* Find(uint32_t id) const;
  // Marks `rank` as departed in every set it belongs to.
  void Leave(int rank);

 private:
  const int size_;
  std::map<uint32_t, ProcessSet> sets_;  // a map: sets stay where they are
};

}  // namespace rueda::control
