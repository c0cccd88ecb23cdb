// Waiter: how long to spin, when to yield, when to sleep. The one wait policy of rueda.
//
// About 50 pauses catch a running peer; then come yields, which serve ranks that share a core
// (6 us for a synchronous 4 KiB call where sleeping at once took 111); then the parker. Beside
// CPU-bound threads a yield costs whole scheduler ticks, so one that took over 500 us switches
// yields off for the next 64 waits, doubling while that repeats and forgotten once a yield is fast
// again. docs/architecture.md, "Who drives, and waiting" has the table.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/clock.h"

namespace rueda::transport {

inline void CpuPause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// One thread's. The wait begins at the first Step after Reset.
class Waiter {
 public:
  // How long a wait spins. A round of pauses and looks takes some 10 us, a yield about one.
  struct Spin {
    int pauses;
    int yields;
  };
  static constexpr Spin kSpin{50, 64};
  // In a call that waits for its peers, where each rank has a processor.
  static constexpr Spin kCallSpin{50, 192};
  // Where ranks outnumber processors: whoever is waited for may need this one at once.
  static constexpr Spin kCrowdSpin{0, 64};
  // Where what is waited for takes long.
  static constexpr Spin kNoSpin{0, 0};
  static constexpr Duration kSlowYield = std::chrono::microseconds(500);
  static constexpr int kWaitsWithoutYields = 64;
  static constexpr int kMostWaitsWithoutYields = 1 << 16;

  enum class Next { kPause, kYield, kSleep };

  // What to do now that nothing was found once more. Pure but for the counters.
  Next Decide();
  // Tells how long a yield took, so that slow ones are given up.
  void YieldTook(Duration took);
  // Something was found: the next wait starts anew.
  void Reset() { steps_ = 0; }
  // The same, and for how long it spins from here on.
  void Reset(const Spin& spin) {
    spin_ = spin;
    Reset();
  }

  // Yields come next: whoever is waited for cannot run while this thread pauses.
  void SkipPauses() { steps_ = std::max(steps_, spin_.pauses); }

  // Does one pause or yield and returns false, or returns true when it is time to sleep.
  bool Step();

 private:
  Spin spin_ = kSpin;
  int steps_ = 0;
  int waits_without_yields_ = 0;  // still to come
  int penalty_ = kWaitsWithoutYields;
};

}  // namespace rueda::transport
