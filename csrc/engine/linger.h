// Linger: how long submissions that nobody waits for have time to find company. Pure.
//
// They go once there was a pause between submissions, because a loop over a model's tensors submits
// the next one sooner than an offer of one tensor would pay; and when a stream without a pause has
// lasted for long, so that communication begins while it goes on. Whoever looks for a pause may
// take the processor from the thread that submits, so a stream that goes on is looked at ever more
// seldom.
#pragma once

#include <algorithm>

#include "core/clock.h"

namespace rueda::engine {

// One thread's.
class Linger {
 public:
  // A stream without a pause goes in parts that are this many pauses long.
  static constexpr int kMostPauses = 32;
  // A look after the whole wait that finds more waits twice as long, up to that many pauses.
  static constexpr int kLongestWait = 8;

  // Without a submission for as long as `pause` everything goes. Holds from the next Took on.
  explicit Linger(Duration pause) : pause_(pause) {}
  void SetPause(Duration pause) { pause_ = pause; }

  // Something was submitted, `is_first` since what was there went. The driver may look seldom: a
  // pause counts from when it saw the last submission.
  void Took(TimePoint now, bool is_first) {
    if (is_first) {
      at_most_until_ = now + kMostPauses * pause_;
      wait_ = pause_;
    } else if (now >= until_) {
      wait_ = std::min(2 * wait_, kLongestWait * pause_);
    }
    until_ = std::min(now + wait_, at_most_until_);
  }

  // When what is there goes, unless more comes.
  TimePoint until() const { return until_; }

 private:
  Duration pause_;
  Duration wait_{};
  TimePoint until_ = kNever;
  TimePoint at_most_until_ = kNever;
};

}  // namespace rueda::engine
