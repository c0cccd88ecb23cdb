#include "control/process_sets.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

namespace rueda::control {

ProcessSet::ProcessSet(std::vector<int> ranks, int size)
    : ranks_(std::move(ranks)), member_of_(static_cast<size_t>(size), -1) {
  for (size_t i = 0; i < ranks_.size(); ++i) {
    member_of_[static_cast<size_t>(ranks_[i])] = static_cast<int>(i);
  }
}

void ProcessSet::Leave(int rank) {
  if (MemberOf(rank) >= 0 && first_departed_ < 0) first_departed_ = rank;
}

ProcessSets::ProcessSets(int size) : size_(size) {
  std::vector<int> all(static_cast<size_t>(size));
  std::iota(all.begin(), all.end(), 0);
  sets_.emplace(0, ProcessSet(std::move(all), size));
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
  return Status::Ok();
}

const ProcessSet* ProcessSets::Find(uint32_t id) const {
  const auto found = sets_.find(id);
  return found == sets_.end() ? nullptr : &found->second;
}

void ProcessSets::Leave(int rank) {
  for (auto& [id, set] : sets_) set.Leave(rank);
}

}  // namespace rueda::control
