#include "control/process_sets.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <utility>

namespace rueda::control {

ProcessSet::ProcessSet(std::vector<int> ranks, int size)
    : ranks_(std::move(ranks)), member_of_(static_cast<size_t>(size), -1) {
  for (size_t i = 0; i < ranks_.size(); ++i) {
    member_of_[static_cast<size_t>(ranks_[i])] = static_cast<int>(i);
    rank_set_.Insert(static_cast<size_t>(ranks_[i]));
  }
}

void ProcessSet::Join(int rank) { joined_.Insert(static_cast<size_t>(rank)); }

void ProcessSet::Leave(int rank) {
  if (MemberOf(rank) >= 0 && first_departed_ < 0) first_departed_ = rank;
}

const BitSet& ProcessSet::MembersOf(const BitSet& ranks, BitSet* scratch) const {
  if (ranks_.size() == member_of_.size()) return ranks;  // all ranks are members
  scratch->Clear();
  ranks.ForEach(
      [&](size_t rank) { scratch->Insert(static_cast<size_t>(MemberOf(static_cast<int>(rank)))); });
  return *scratch;
}

std::vector<int> ProcessSet::RanksWithout(const BitSet& members) const {
  std::vector<int> ranks;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (!members.Contains(i)) ranks.push_back(ranks_[i]);
  }
  return ranks;
}

ProcessSets::ProcessSets(int size) : size_(size) {
  std::vector<int> all(static_cast<size_t>(size));
  std::iota(all.begin(), all.end(), 0);
  all_ = &sets_.emplace(0, ProcessSet(std::move(all), size)).first->second;
}

Status ProcessSets::Add(uint32_t id, std::vector<int> ranks) {
  const std::string name = "process set " + std::to_string(id);
  std::sort(ranks.begin(), ranks.end());
  if (ranks.empty()) {
    return {StatusCode::kInvalidArgument, name + " has no ranks. Give it at least one."};
  }
  if (ranks.front() < 0 || ranks.back() >= size_) {
    return {StatusCode::kInvalidArgument, name +
                                              " names a rank that does not exist. Ranks are 0 to " +
                                              std::to_string(size_ - 1) + "."};
  }
  if (std::adjacent_find(ranks.begin(), ranks.end()) != ranks.end()) {
    return {StatusCode::kInvalidArgument, name + " names a rank twice. Name each rank once."};
  }
  if (!sets_.emplace(id, ProcessSet(std::move(ranks), size_)).second) {
    return {StatusCode::kInvalidArgument, name + " exists already. Choose another number."};
  }
  if (id < kPairBit) next_id_ = std::max(next_id_, id + 1);
  return Status::Ok();
}

Result<uint32_t> ProcessSets::AddNew(std::vector<int> ranks) {
  std::sort(ranks.begin(), ranks.end());
  for (const auto& [id, set] : sets_) {
    if (id >= kPairBit || set.ranks() != ranks) continue;
    return Status(StatusCode::kInvalidArgument,
                  "process set " + std::to_string(id) + " already has " +
                      std::string(id == 0 ? "all ranks" : "these ranks") + ". Use that one.");
  }
  const uint32_t id = next_id_;
  RUEDA_RETURN_IF_ERROR(Add(id, std::move(ranks)));
  return id;
}

Status ProcessSets::Remove(uint32_t id) {
  if (id == 0) {
    return {StatusCode::kInvalidArgument, "process set 0 has all ranks and cannot be removed."};
  }
  if (id < kPairBit && sets_.erase(id) == 1) return Status::Ok();
  return {StatusCode::kInvalidArgument,
          "process set " + std::to_string(id) + " does not exist (any more)."};
}

ProcessSet* ProcessSets::Find(uint32_t id) {
  auto found = sets_.find(id);
  if (found != sets_.end()) return &found->second;
  const auto [low, high] = RanksOfPair(id);
  if (id != PairOf(low, high) || low == high || high >= size_) return nullptr;
  ProcessSet& pair = sets_.emplace(id, ProcessSet({low, high}, size_)).first->second;
  for (const int rank : departed_) pair.Leave(rank);
  return &pair;
}

std::vector<int> ProcessSets::MissingFrom(const ProcessSet& set, const BitSet& members) const {
  std::vector<int> missing = set.RanksWithout(members);
  std::erase_if(missing, [&](int rank) { return IsAbsent(set, rank); });
  return missing;
}

int ProcessSets::FirstJoinedElsewhere(const ProcessSet& set) const {
  if (&set == all_) return -1;
  const auto joined = std::find_if(set.ranks().begin(), set.ranks().end(),
                                   [this](int rank) { return all_->HasJoined(rank); });
  return joined == set.ranks().end() ? -1 : *joined;
}

void ProcessSets::Leave(int rank) {
  departed_.push_back(rank);
  for (auto& [id, set] : sets_) set.Leave(rank);
}

std::vector<int> ProcessSets::RanksOfWholeSets() const {
  std::set<int> ranks;
  for (const auto& [id, set] : sets_) {
    if (set.first_departed() < 0) ranks.insert(set.ranks().begin(), set.ranks().end());
  }
  return {ranks.begin(), ranks.end()};
}

}  // namespace rueda::control
