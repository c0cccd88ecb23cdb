// EventQueue: what happens next in virtual time.
//
// Events of one time happen in the order in which they were added, so a run is the same each time.
#pragma once

#include <cstdint>
#include <queue>
#include <utility>
#include <vector>

#include "core/clock.h"

namespace rueda::bench {

template <typename Event>
class EventQueue {
 public:
  struct Timed {
    Duration at{};  // since the beginning of virtual time
    uint64_t sequence = 0;
    Event event;
  };

  void Add(Duration at, Event event) { queue_.push({at, next_++, std::move(event)}); }
  bool empty() const { return queue_.empty(); }
  size_t size() const { return queue_.size(); }

  // Takes the earliest one out; there must be one.
  Timed Take() {
    Timed earliest = queue_.top();
    queue_.pop();
    return earliest;
  }

 private:
  struct Later {
    bool operator()(const Timed& a, const Timed& b) const {
      return a.at != b.at ? a.at > b.at : a.sequence > b.sequence;
    }
  };

  std::priority_queue<Timed, std::vector<Timed>, Later> queue_;
  uint64_t next_ = 0;
};

}  // namespace rueda::bench
