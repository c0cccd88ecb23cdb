// SpareNodes: nodes of a map whose keys have gone, kept for the next ones: a steady state allocates
// none. Its map's lock is its own.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

namespace rueda {

template <typename Map>
class SpareNodes {
 public:
  using Key = typename Map::key_type;
  using Value = typename Map::mapped_type;

  explicit SpareNodes(size_t most) : most_(most) {}

  // The key is not in the map yet.
  void Insert(Map* map, const Key& key, Value value) {
    if (nodes_.empty()) {
      map->emplace(key, std::move(value));
      return;
    }
    typename Map::node_type node = std::move(nodes_.back());
    nodes_.pop_back();
    node.key() = key;
    node.mapped() = std::move(value);
    map->insert(std::move(node));
  }

  // Takes the key out of the map: its value, or none if it was not there.
  std::optional<Value> Take(Map* map, const Key& key) {
    typename Map::node_type node = map->extract(key);
    if (node.empty()) return std::nullopt;
    std::optional<Value> value(std::move(node.mapped()));
    if (nodes_.size() < most_) nodes_.push_back(std::move(node));
    return value;
  }

 private:
  const size_t most_;
  std::vector<typename Map::node_type> nodes_;  // their values were moved from
};

}  // namespace rueda
