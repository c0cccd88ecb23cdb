// Lanes: rows of a picture on which no two spans overlap.
//
// A trace shows spans of one row nested in each other, so requests that are under way together need
// rows of their own. Pure; one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rueda::timeline {

class Lanes {
 public:
  // The first lane whose spans all ended by `begun`; it is taken until `done`. A new one is opened
  // when there is none. O(log n) in the number of lanes.
  size_t Take(int64_t begun, int64_t done);
  size_t size() const { return open_; }

 private:
  void Grow();

  // A tree of minima over the lanes' ends: node i has children 2i and 2i + 1, leaves begin at
  // `leaves_`. Lanes that are not open yet end at the beginning of time.
  size_t leaves_ = 0;
  size_t open_ = 0;
  std::vector<int64_t> ends_;
};

}  // namespace rueda::timeline
