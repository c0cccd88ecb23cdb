// ControlShape: through whom the simulated ranks talk to rank 0.
//
// A star: each to rank 0. A tree: the ranks of a host to the first rank of their host, and those
// first ranks in a tree in which each has at most `fan_out` others below it. Pure.
#pragma once

#include <cstddef>
#include <vector>

namespace rueda::bench {

class ControlShape {
 public:
  static ControlShape Star(int ranks);
  static ControlShape Tree(int ranks, int ranks_per_host, int fan_out);

  int size() const { return static_cast<int>(parents_.size()); }
  // -1 of rank 0.
  int parent(int rank) const { return parents_[static_cast<size_t>(rank)]; }
  // Ascending.
  const std::vector<int>& children(int rank) const { return children_[static_cast<size_t>(rank)]; }
  // How many steps it is to rank 0.
  int depth(int rank) const { return depths_[static_cast<size_t>(rank)]; }
  int depth() const;  // the most

 private:
  explicit ControlShape(std::vector<int> parents);

  std::vector<int> parents_;
  std::vector<int> depths_;
  std::vector<std::vector<int>> children_;
};

}  // namespace rueda::bench
