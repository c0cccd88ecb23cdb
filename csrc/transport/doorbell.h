// Doorbell: futex words that wake one sleeping thread, within a process or across processes.
//
// An event count: who may sleep prepares, looks for work once more, and then sleeps or cancels.
// Whoever makes work rings afterwards, which costs a fence and a load of a line that seldom changes
// while nobody has prepared. No wake-up is lost: the ringer stores its work, then loads heed_; the
// sleeper stores heed_, then loads what may be work; with a full fence between the two on either
// side at least one of them sees the other (Dekker's pattern). A ringer that sees the sleeper
// changes the sequence, on which that sleeps.
//
// Two threads of the owner may sleep at it, but only one of them listens: the engine thread, or a
// caller that sleeps in its place. Each has a word of its own, so that a ring wakes only that one.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/clock.h"

namespace rueda::transport {

// Zeroed memory is a doorbell that nobody has rung, so it may lie in a fresh arena.
class alignas(128) Doorbell {
 public:
  // Whose rings wake the sleeper, and whom they wake: the engine thread, or since kCaller the
  // caller that sleeps, who heeds everybody. What the owner rings is heeded in all cases but
  // kNobody's.
  enum class Heed : uint32_t {
    kNobody = 0,
    kEverybody = 1,
    kOwner = 2,  // and looks around by itself before long
    kCaller = 3,
    kCallerAlone = 4,  // and the engine thread counts on that caller: it sleeps without a deadline
  };

  // From here on rings are heeded, and end the Sleep to which the result is handed. Then the caller
  // looks for work. One thread at a time, until Sleep or Cancel.
  uint32_t Prepare(Heed heed = Heed::kEverybody);
  // Nobody is heeded any more.
  void Cancel() { heed_.store(static_cast<uint32_t>(Heed::kNobody), std::memory_order_relaxed); }

  // Sleeps until a ring since Prepare, the deadline, or a signal; may also return for no reason.
  // Whom it heeds it leaves as it is, and others may change meanwhile.
  void Sleep(uint32_t seen, TimePoint deadline) const;

  // The same three for a caller. Sleep returns errno as FutexWait does; Cancel, whether the engine
  // thread has left everything to this caller meanwhile.
  uint32_t PrepareCaller();
  int SleepAsCaller(uint32_t seen, TimePoint deadline) const;
  bool CancelCaller();
  // The engine thread, which has nothing to look after while a caller sleeps. False if none does.
  bool LeaveToCaller();

  // Wakes the sleeper, if it heeds everybody. Any thread of any process that maps it.
  void Ring();
  // The same for threads of the owner's process.
  void RingAsOwner();
  // Wakes a caller that sleeps, but not the engine thread of a rank that computes.
  void RingCaller();

  Heed heed() const { return static_cast<Heed>(heed_.load(std::memory_order_relaxed)); }
  // Which rings were heeded; for a sleeper beside whom others may change whom it heeds.
  uint32_t Sequence() const { return sequence_.load(std::memory_order_acquire); }

 private:
  static bool IsCaller(Heed heed) { return heed >= Heed::kCaller; }
  static void Wake(std::atomic<uint32_t>* sequence);

  std::atomic<uint32_t> sequence_;
  std::atomic<uint32_t> heed_;
  std::atomic<uint32_t> caller_sequence_;
};

// futex(2) on a word that other processes may map. Returns errno, 0 when woken.
int FutexWait(const std::atomic<uint32_t>* word, uint32_t expected, TimePoint deadline);
void FutexWakeAll(const std::atomic<uint32_t>* word);

}  // namespace rueda::transport
