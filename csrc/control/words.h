// Words: how error texts of the control layer write ranks, names, shapes and numbers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.h"

namespace rueda::control {

// The longest start of `text` within `bytes` that cuts no UTF-8 sequence: Python must be able to
// decode every text.
std::string_view Clip(std::string_view text, size_t bytes);

// 'name', cut in the middle if it is very long.
std::string Quote(std::string_view name);

// "allreduce 'x'".
std::string Subject(OpKind kind, std::string_view name);

// "[10, 4]".
std::string ShapeText(const std::vector<int64_t>& shape);

// Shortest text that tells the value from every other one, not-a-numbers of different bits
// included.
std::string NumberText(double value);

// "rank 3", "ranks 0 and 2", "ranks 0-6 and 8". `ranks` ascend and are not empty. Beyond a dozen
// runs the rest is counted: "... and 40 more".
std::string RankList(const std::vector<int>& ranks);

// As RankList, but up to three ranks are named with host and pid.
std::string NamedRankList(const Topology& topology, const std::vector<int>& ranks);

}  // namespace rueda::control
