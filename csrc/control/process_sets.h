// ProcessSets: the coordinator's registry of who belongs to which process set, and who has left.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "control/bit_set.h"
#include "core/status.h"

namespace rueda::control {

// A fixed subset of the ranks. A member is known by its place among the set's ascending ranks.
class ProcessSet {
 public:
  // `ranks` ascend, are below `size` and differ.
  ProcessSet(std::vector<int> ranks, int size);

  size_t size() const { return ranks_.size(); }
  const std::vector<int>& ranks() const { return ranks_; }
  bool Has(const BitSet& ranks) const { return ranks.IsSubsetOf(rank_set_); }
  // -1 if the rank is none.
  int MemberOf(int rank) const { return member_of_[static_cast<size_t>(rank)]; }
  // The members that `ranks` are; may use the memory of `*scratch`.
  const BitSet& MembersOf(const BitSet& ranks, BitSet* scratch) const;
  // Ranks of the other members, ascending.
  std::vector<int> RanksWithout(const BitSet& members) const;
  // The member that left first, or -1 while all are here.
  int first_departed() const { return first_departed_; }
  void Leave(int rank);

  // Members that have joined this set and wait for the others to.
  bool HasJoined(int rank) const { return joined_.Contains(static_cast<size_t>(rank)); }
  size_t joined() const { return joined_.count(); }
  void Join(int rank);
  void EndJoin() { joined_.Clear(); }

 private:
  std::vector<int> ranks_;
  BitSet rank_set_;
  std::vector<int> member_of_;  // by rank
  BitSet joined_;               // ranks
  int first_departed_ = -1;
};

// Two ranks that send to each other are a process set without being asked, with this number.
constexpr uint32_t kPairBit = uint32_t{1} << 31;
constexpr uint32_t PairOf(int a, int b) {
  const auto low = static_cast<uint32_t>(a < b ? a : b);
  const auto high = static_cast<uint32_t>(a < b ? b : a);
  return kPairBit | low << 16 | high;
}
struct Pair {
  int low;
  int high;
};
constexpr Pair RanksOfPair(uint32_t id) {
  return {static_cast<int>((id & ~kPairBit) >> 16), static_cast<int>(id & 0xFFFF)};
}

class ProcessSets {
 public:
  // Knows set 0, all ranks.
  explicit ProcessSets(int size);

  // kInvalidArgument if the id is taken or the ranks are none, repeated or out of range.
  Status Add(uint32_t id, std::vector<int> ranks);
  // The number of a new set of these ranks, never used before. Errors as Add's, and if there is
  // such a set already.
  Result<uint32_t> AddNew(std::vector<int> ranks);
  // kInvalidArgument if there is none, or it is set 0.
  Status Remove(uint32_t id);

  // Null if there is none. Makes pairs on the way. Stays valid until it is removed.
  ProcessSet* Find(uint32_t id);
  // Whether `rank` offers nothing to `set` for now: it joined that set, or the one of all ranks.
  bool IsAbsent(const ProcessSet& set, int rank) const {
    return set.HasJoined(rank) || all_->HasJoined(rank);
  }
  // Ranks of the other members, ascending, without those that are absent.
  std::vector<int> MissingFrom(const ProcessSet& set, const BitSet& members) const;
  // A member that has joined the set of all ranks, so that it will not join this other one; or -1.
  int FirstJoinedElsewhere(const ProcessSet& set) const;
  bool anybody_joined(const ProcessSet& set) const { return MostAbsent(set) > 0; }
  // No more members than this are absent; counting them exactly takes a walk over all.
  size_t MostAbsent(const ProcessSet& set) const { return set.joined() + all_->joined(); }
  // Marks `rank` as departed in every set it belongs to.
  void Leave(int rank);
  // Ascending, each once: the members of every set that nobody has left.
  std::vector<int> RanksOfWholeSets() const;

 private:
  const int size_;
  uint32_t next_id_ = 1;
  std::map<uint32_t, ProcessSet> sets_;  // a map: sets stay where they are
  ProcessSet* all_;                      // set 0
  std::vector<int> departed_;            // in the order in which they left
};

}  // namespace rueda::control
