// CostMeter and CostBook: how long a piece of the control plane really computes, and what counts of
// it.
//
// One call may be disturbed by whatever else the machine does, so where several nodes do the same
// in one step, what each of them pays is the median of what was measured. For one thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <unordered_map>

#include "core/clock.h"

namespace rueda::bench {

class CostMeter {
 public:
  // `overhead`: what two readings of the clock are apart when nothing happens between them.
  CostMeter(const Clock* clock, Duration overhead) : clock_(clock), overhead_(overhead) {}

  // Leaves out what others computed on this processor meanwhile, by a clock that stands still then.
  void LeaveOutOthers(const Clock* own, Duration overhead) {
    own_ = own;
    own_overhead_ = overhead;
  }

  template <typename Piece>
  Duration Measure(Piece piece) const {
    const TimePoint own_began = own_ != nullptr ? own_->Now() : TimePoint{};
    const TimePoint began = clock_->Now();
    piece();
    Duration took = clock_->Now() - began - overhead_;
    if (own_ != nullptr) took = std::min<Duration>(took, own_->Now() - own_began - own_overhead_);
    return std::max(took, Duration::zero());
  }

  // The least of many readings.
  static Duration OverheadOf(const Clock& clock);

 private:
  const Clock* clock_;
  Duration overhead_;
  const Clock* own_ = nullptr;
  Duration own_overhead_{};
};

// The same work: what is done, for ranks that do alike (control_workload.h), at what point.
struct CostKey {
  enum class Work : uint8_t { kOffer, kEncode, kTake, kAbsorb, kRelay };
  Work work;
  int group = 0;
  int64_t point = 0;

  uint64_t bits() const {
    return static_cast<uint64_t>(work) | static_cast<uint64_t>(group) << 8 |
           static_cast<uint64_t>(point) << 16;
  }
};

class CostBook {
 public:
  // Takes one more measurement in and returns the median of those of this key, of the last 63.
  Duration Note(const CostKey& key, Duration measured);
  // The median, zero if there is none.
  Duration Of(const CostKey& key) const;
  // Forgets all: another step may have other work.
  void Clear() { entries_.clear(); }

 private:
  static constexpr size_t kKept = 63;
  struct Entry {
    std::array<Duration, kKept> last{};
    size_t count = 0;
  };
  static Duration MedianOf(const Entry& entry);

  std::unordered_map<uint64_t, Entry> entries_;
};

}  // namespace rueda::bench
