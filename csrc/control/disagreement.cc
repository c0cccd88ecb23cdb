#include "control/disagreement.h"

#include <algorithm>
#include <map>
#include <utility>

#include "control/words.h"

namespace rueda::control {
namespace {

constexpr size_t kMostValues = 8;

struct Camp {
  std::string value;
  std::vector<int> ranks;  // ascending
};

// Who offered what, the smallest camp first; camps of one size by their first rank.
std::vector<Camp> CampsOf(const std::vector<int>& ranks, const std::vector<std::string>& values) {
  std::map<std::string, std::vector<int>> ranks_of;
  for (size_t i = 0; i < ranks.size(); ++i) ranks_of[values[i]].push_back(ranks[i]);
  std::vector<Camp> camps;
  camps.reserve(ranks_of.size());
  for (auto& [value, members] : ranks_of) camps.push_back({value, std::move(members)});
  std::sort(camps.begin(), camps.end(), [](const Camp& a, const Camp& b) {
    return std::pair(a.ranks.size(), a.ranks[0]) < std::pair(b.ranks.size(), b.ranks[0]);
  });
  return camps;
}

// The odd ones out are named with host and pid; a majority is not.
std::string Name(const Topology& topology, const std::vector<Camp>& camps, size_t index) {
  const bool majority =
      index + 1 == camps.size() && camps[index].ranks.size() > camps[camps.size() - 2].ranks.size();
  return majority ? RankList(camps[index].ranks) : NamedRankList(topology, camps[index].ranks);
}

std::string Tell(const Topology& topology, const std::vector<Camp>& camps) {
  std::string text;
  size_t left_out = 0;
  for (size_t i = 0; i < camps.size(); ++i) {
    const bool last = i + 1 == camps.size();
    if (i + 1 >= kMostValues && !last) {
      left_out += camps[i].ranks.size();
      continue;
    }
    if (left_out > 0) text += ", " + std::to_string(left_out) + " more ranks other values";
    if (i > 0) text += ", ";
    text += Name(topology, camps, i) + (i == 0 ? " offered " : " ") + camps[i].value;
  }
  return text;
}

}  // namespace

Status Describe(const Topology& topology, const std::vector<int>& ranks,
                const Disagreement& disagreement) {
  const std::vector<Camp> camps = CampsOf(ranks, disagreement.values);
  Status status(StatusCode::kMismatch, "ranks disagree on the " + disagreement.property + ": " +
                                           Tell(topology, camps) + ". " + disagreement.advice);
  const bool one_against_many =
      camps.size() == 2 && camps[0].ranks.size() == 1 && camps[1].ranks.size() >= 2;
  return one_against_many ? status.Blame(camps[0].ranks[0]) : status;
}

}  // namespace rueda::control
