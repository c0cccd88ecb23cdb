#include "control/words.h"

#include <bit>
#include <charconv>
#include <cmath>

namespace rueda::control {
namespace {

constexpr size_t kLongestQuote = 200;
constexpr size_t kMostRuns = 12;
constexpr size_t kFewRanks = 3;

// Whether a byte lies inside a UTF-8 sequence.
bool Continues(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U; }

// "a", "a and b", "a, b and c".
std::string Enumerate(const std::vector<std::string>& items) {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) text += i + 1 == items.size() ? " and " : ", ";
    text += items[i];
  }
  return text;
}

template <typename Integer>
std::string Hex(Integer bits) {
  char digits[2 * sizeof bits];
  const auto end = std::to_chars(digits, digits + sizeof digits, bits, 16);
  return "0x" + std::string(digits, end.ptr);
}

}  // namespace

std::string_view Clip(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && Continues(text[bytes])) --bytes;
  return text.substr(0, bytes);
}

std::string Quote(std::string_view name) {
  if (name.size() <= kLongestQuote) return "'" + std::string(name) + "'";
  const size_t half = kLongestQuote / 2;
  std::string_view tail = name.substr(name.size() - half);
  while (!tail.empty() && Continues(tail[0])) tail.remove_prefix(1);
  return "'" + std::string(Clip(name, half)) + "..." + std::string(tail) + "'";
}

std::string Subject(OpKind kind, std::string_view name) {
  return std::string(NameOf(kind)) + " " + Quote(name);
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

std::string NumberText(double value) {
  if (std::isnan(value)) return "nan (" + Hex(std::bit_cast<uint64_t>(value)) + ")";
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value);
  return {digits, end.ptr};
}

std::string RankList(const std::vector<int>& ranks) {
  if (ranks.size() == 1) return "rank " + std::to_string(ranks[0]);
  std::vector<std::string> runs;
  size_t i = 0;
  while (i < ranks.size() && runs.size() < kMostRuns) {
    size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    // Two neighbours read better as two ranks than as a run.
    if (last == i + 1) last = i;
    runs.push_back(std::to_string(ranks[i]));
    if (last > i) runs.back() += "-" + std::to_string(ranks[last]);
    i = last + 1;
  }
  if (i < ranks.size()) runs.push_back(std::to_string(ranks.size() - i) + " more");
  return "ranks " + Enumerate(runs);
}

std::string NamedRankList(const Topology& topology, const std::vector<int>& ranks) {
  if (ranks.size() > kFewRanks || topology.peers.empty()) return RankList(ranks);
  std::vector<std::string> names;
  names.reserve(ranks.size());
  for (const int rank : ranks) names.push_back(topology.Describe(rank));
  return Enumerate(names);
}

}  // namespace rueda::control
