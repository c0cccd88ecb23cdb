// Stall: a request that some ranks have offered and others have withheld for too long.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/types.h"

namespace rueda::control {

struct Entry;

struct Stall {
  std::string name;
  OpKind kind = OpKind::kAllreduce;
  std::vector<int> missing_ranks;  // ascending
  Duration age{};
  uint32_t process_set = 0;
  // Of a group: how many tensors it has, and the names of the first kNamedTensors.
  size_t tensor_count = 0;
  std::vector<std::string> tensors;
};
inline constexpr size_t kNamedTensors = 4;

// As the coordinator's book has it, with the ranks that are waited for.
Stall StallOf(const Entry& entry, std::vector<int> missing, TimePoint now);

// How it went on with the stalls that were told of.
struct StallTally {
  size_t open = 0;       // still withheld
  uint64_t resumed = 0;  // the missing ranks have offered it, or joined
  uint64_t failed = 0;   // the ranks that had offered it got an error

  bool operator==(const StallTally&) const = default;
};

}  // namespace rueda::control
