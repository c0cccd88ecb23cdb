#include "torch/call_counts.h"

namespace rueda::pytorch {

std::string CallCounts::NextName(uint32_t process_set, const std::string& operation) const {
  const auto found = counts_.find({process_set, operation});
  const uint64_t count = found == counts_.end() ? 0 : found->second;
  const uint64_t ended = joins(process_set);
  const std::string after = ended > 0 ? std::to_string(ended) + "." : "";
  return operation + ".noname." + after + std::to_string(count);
}

void CallCounts::Count(uint32_t process_set, const std::string& operation) {
  ++counts_[{process_set, operation}];
}

std::string CallCounts::Take(uint32_t process_set, const std::string& operation) {
  std::string name = NextName(process_set, operation);
  Count(process_set, operation);
  return name;
}

uint64_t CallCounts::joins(uint32_t process_set) const {
  return OwnJoins(0) + (process_set == 0 ? 0 : OwnJoins(process_set));
}

uint64_t CallCounts::OwnJoins(uint32_t process_set) const {
  const auto found = joins_.find(process_set);
  return found == joins_.end() ? 0 : found->second;
}

void CallCounts::EndJoin(uint32_t process_set) {
  ++joins_[process_set];
  std::erase_if(counts_, [&](const auto& entry) {
    return process_set == 0 || entry.first.first == process_set;
  });
}

void CallCounts::Forget(uint32_t process_set) {
  joins_.erase(process_set);
  std::erase_if(counts_, [&](const auto& entry) { return entry.first.first == process_set; });
}

}  // namespace rueda::pytorch
