// Foresight: whether somebody is about to wait for what was just submitted. Pure.
//
// Who waits drives, so an engine thread that is woken by a submission only gets in the way of a
// thread that submits a few tensors and then waits for them. A program that did so a few times in a
// row will do so again: then what it submits can lie there until it waits, or until the engine
// thread looks around by itself. Who computes in between is found out the first time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "core/clock.h"

namespace rueda::engine {

// A burst is what is submitted between two looks of whoever drives.
class Foresight {
 public:
  // Somebody who waits so soon after the first of a burst did nothing but submit the others. From
  // Python a submission takes 1 to 5 us.
  static constexpr Duration SoonAfter(uint32_t submissions) {
    return std::chrono::microseconds(50) + submissions * std::chrono::microseconds(10);
  }
  // That many such bursts in a row are enough; after one that was none, that many more.
  static constexpr uint32_t kEnough = 4;

  // The first of a burst was submitted.
  void Begins(TimePoint now) {
    if (burst_) Judge(false);
    burst_ = Burst{now, 0};
  }
  // One was, be it the first or another one.
  void Submitted() {
    if (burst_) ++burst_->submissions;
  }
  // Somebody waits, and drives if the engine thread does not.
  void Waits(TimePoint now) {
    if (burst_) Judge(now - burst_->begun <= SoonAfter(burst_->submissions));
    burst_.reset();
  }

  bool expects_a_wait() const { return soon_ == kEnough; }

 private:
  struct Burst {
    TimePoint begun;
    uint32_t submissions;
  };

  void Judge(bool was_soon) { soon_ = was_soon ? std::min(soon_ + 1, kEnough) : 0; }

  std::optional<Burst> burst_;  // that nobody has waited for yet
  uint32_t soon_ = 0;
};

}  // namespace rueda::engine
