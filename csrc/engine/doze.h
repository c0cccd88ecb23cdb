// Doze: for how long the engine thread leaves the field to callers that drive. Pure.
//
// The end of a doze takes some 35 us from whoever runs on that processor, so a loop of calls gets
// ever longer ones. But while one lasts a peer may wait for this rank's engine, so only a loop
// does.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/clock.h"

namespace rueda::engine {

class Doze {
 public:
  static constexpr Duration kShortest = std::chrono::milliseconds(1);
  static constexpr Duration kLongest = std::chrono::milliseconds(8);
  // So many calls, several in each doze, are a loop.
  static constexpr uint32_t kCallsOfALoop = 8;

  static constexpr Duration Longer(Duration doze) { return std::min(2 * doze, kLongest); }

  Duration length() const { return length_; }
  // One is over, in which callers drove so many times: how long is the next one?
  void Over(uint32_t calls) {
    if (calls < 2) {
      length_ = kShortest;
      calls_of_loop_ = 0;
    } else if ((calls_of_loop_ += calls) >= kCallsOfALoop) {
      length_ = Longer(length_);
      calls_of_loop_ = 0;
    }
  }

 private:
  Duration length_ = kShortest;
  uint32_t calls_of_loop_ = 0;  // since the length last changed
};

}  // namespace rueda::engine
