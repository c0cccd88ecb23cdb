// Doorbell: a futex word that wakes one sleeping thread, within a process or across processes.
//
// Protocol: the sleeper reads Sequence(), looks for work, says whom it heeds, and sleeps only if
// the sequence is still the one it read. Whoever made work rings afterwards. Ringing costs one
// atomic add and one load while nobody heeds it. Pairing: the ringer's fetch_add (sequentially
// consistent, hence release) with the sleeper's sequence loads (acquire); the add before the load
// of heed_ against the store of heed_ before the second load of sequence_ is Dekker's pattern, all
// sequentially consistent. No fences: ThreadSanitizer does not model them.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/clock.h"

namespace rueda::transport {

// Zeroed memory is a doorbell that nobody has rung, so it may lie in a fresh arena.
class alignas(128) Doorbell {
 public:
  uint32_t Sequence() const { return sequence_.load(std::memory_order_acquire); }

  // Whose rings wake the sleeper. What the owner rings is heeded in both cases but kNobody's.
  enum class Heed : uint32_t { kNobody = 0, kEverybody = 1, kOwner = 2 };
  Heed heed() const { return static_cast<Heed>(heed_.load(std::memory_order_relaxed)); }
  void SetHeed(Heed heed) { heed_.store(static_cast<uint32_t>(heed), std::memory_order_seq_cst); }

  // Wakes the sleeper, if it heeds everybody. Any thread of any process that maps it.
  void Ring();
  // The same for threads of the owner's process.
  void RingAsOwner();

  // Sleeps until rung since `seen` was read, the deadline passes, or a signal arrives; may also
  // return for no reason. One thread at a time.
  void Sleep(uint32_t seen, TimePoint deadline);
  // The same, but only for rings that are heeded as SetHeed says, which others may change
  // meanwhile.
  void SleepHeeding(uint32_t seen, TimePoint deadline) const;

 private:
  std::atomic<uint32_t> sequence_;
  std::atomic<uint32_t> heed_;
};

// futex(2) on a word that other processes may map. Returns errno, 0 when woken.
int FutexWait(const std::atomic<uint32_t>* word, uint32_t expected, TimePoint deadline);
void FutexWakeAll(const std::atomic<uint32_t>* word);

}  // namespace rueda::transport
