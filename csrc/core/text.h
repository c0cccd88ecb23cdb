// Words for messages: the nearest known name, sizes that people read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rueda {

// The candidate with the smallest edit distance (Levenshtein) to `word`, if it is near enough to be
// what was meant: at most a third of the word's length away.
std::optional<std::string> NearestName(std::string_view word,
                                       const std::vector<std::string>& candidates);

// "300", "0.5": no more digits than needed.
std::string FormatSeconds(double seconds);

// "64 MiB", "1.5 KiB", "7 B".
std::string FormatBytes(int64_t bytes);

}  // namespace rueda
