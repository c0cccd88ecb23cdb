// Disagreement: how a property on which ranks must agree, and do not, is told to the user.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"
#include "core/types.h"

namespace rueda::control {

struct Disagreement {
  std::string property;             // "shape of 'fc.weight' in allreduce"
  std::vector<std::string> values;  // what each rank offered, in the order of the ranks
  std::string advice;               // what to do next, a sentence
};

// kMismatch: "ranks disagree on the <property>: rank 1 (pid 7 on a) offered [10, 5], ranks 0 and 2
// [10, 4]. <advice>" Values are told from the rarest to the commonest. Blames a rank that stands
// alone against two or more that agree.
Status Describe(const Topology& topology, const std::vector<int>& ranks,
                const Disagreement& disagreement);

}  // namespace rueda::control
