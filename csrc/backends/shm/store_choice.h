// StoreChoice: whether ranks write what they stage for others into their caches or past them.
//
// Ranks that share a cache hand lines over fastest there; ranks that do not are up to five times
// faster through memory. Virtual processors move, so it is found out by doing, again and again: the
// way that is not used is tried for some units, and taken if it costs clearly less. Pure: told what
// units cost. One rank of a group chooses for all.
#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "core/clock.h"

namespace rueda::backends {

class StoreChoice {
 public:
  // Units until all ranks pack as the choice says and what was packed before is gone.
  static constexpr int kSettling = 8;
  // Units whose median counts: ranks lose their core now and then.
  static constexpr int kWindow = 7;
  // Windows between two trials: doubled by each that brought nothing. A trial through caches that
  // are not shared costs ten times as much, for 15 units of 14,336 in the long run.
  static constexpr int kLeastPause = 4, kMostPause = 2048;
  // A trial comes 16 times as soon when cost has risen to this.
  static constexpr double kAlarm = 2.0;
  // What the other way may cost at most to be taken.
  static constexpr double kClearly = 0.85;

  bool streams() const { return streams_ != trying_; }

  // `busy`: what the rank that chooses spent on one unit without waiting.
  void Measured(int64_t bytes, Duration busy);

 private:
  void EndTrial(double cost);
  void EndWindow(double cost);

  bool streams_ = false;  // past the caches
  bool trying_ = false;   // the other way, for now
  int settling_ = 0;
  int measured_ = 0;  // in this window
  std::array<double, kWindow> costs_{};
  double cost_ = 0;  // of the way in use, per byte
  // That it was from just before the last trial on: processors may have moved during that.
  double least_ = std::numeric_limits<double>::infinity();
  int pause_ = kLeastPause;
  int windows_ = 0;  // since the last trial
};

}  // namespace rueda::backends
