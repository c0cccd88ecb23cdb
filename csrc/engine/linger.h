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

  // How long a pause is unless the user says so, on a host of so many ranks and processors. Where
  // engine threads have no processor of their own, looking for a pause takes one from a thread that
  // submits, and nothing would communicate beside it: 300 calls of 1 KiB, 2 ranks on 2 cores, took
  // 4.3 ms with 30 us and 2.6 ms with 300, of which 1.7 were the calls themselves.
  static Duration UsualPause(int ranks, int processors) {
    return std::chrono::microseconds(2 * ranks <= processors ? 30 : 300);
  }

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
