#include "bench/simulation/control_shape.h"

#include <algorithm>
#include <utility>

namespace rueda::bench {

ControlShape::ControlShape(std::vector<int> parents)
    : parents_(std::move(parents)), depths_(parents_.size(), 0), children_(parents_.size()) {
  // Parents are below their children.
  for (int rank = 1; rank < size(); ++rank) {
    children_[static_cast<size_t>(parent(rank))].push_back(rank);
    depths_[static_cast<size_t>(rank)] = depth(parent(rank)) + 1;
  }
}

ControlShape ControlShape::Star(int ranks) {
  std::vector<int> parents(static_cast<size_t>(ranks), 0);
  parents[0] = -1;
  return ControlShape(std::move(parents));
}

ControlShape ControlShape::Tree(int ranks, int ranks_per_host, int fan_out) {
  std::vector<int> parents(static_cast<size_t>(ranks), -1);
  for (int rank = 1; rank < ranks; ++rank) {
    const int host = rank / ranks_per_host;
    const int first = host * ranks_per_host;
    const int above = host == 0 ? 0 : (host - 1) / fan_out * ranks_per_host;
    parents[static_cast<size_t>(rank)] = rank == first ? above : first;
  }
  return ControlShape(std::move(parents));
}

int ControlShape::depth() const { return *std::max_element(depths_.begin(), depths_.end()); }

}  // namespace rueda::bench
