// Baton: who drives an engine's loop, and who listens for work while nothing moves.
//
// Who has the baton drives: the engine thread, or a caller that waits for a ticket. A caller keeps
// it while it sleeps, because then it sleeps in the engine thread's place: every ring wakes it, and
// the deadlines are its own. So a call whose peers are late costs one wake-up, not one of the
// engine thread and then one of the caller.
//
// After a caller has driven the engine thread dozes: it heeds nobody but its own process and looks
// around after a while, so that the rings that peers end an operation with wake nobody between the
// calls of a loop. As long as callers drive it dozes on without the baton, and for longer in a loop
// of many calls, because the end of a doze takes a caller's processor. When none has driven during
// a doze it sleeps again, heeding everybody; and when a doze ends while a caller sleeps, it sleeps
// until that caller has left (I7: a caller that sleeps for long is alone in doing so).
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "core/clock.h"
#include "engine/doze.h"
#include "transport/parker.h"
#include "transport/waiter.h"

namespace rueda::engine {

// Parker and clock outlive it.
class Baton {
 public:
  Baton(transport::Parker* parker, const Clock* clock)
      : parker_(parker), doorbell_(parker->doorbell()), clock_(clock) {}

  // False where the engine thread sleeps in something that callers cannot sleep in.
  bool callers_can_drive() const { return doorbell_ != nullptr; }

  // The engine thread has it while it drives, and gives it away at its end.
  void Take();
  void Give() { mutex_.unlock(); }

  // The rest of the engine thread's needs the baton.
  //
  // Whether a caller drove since this thread last went to sleep, and left it nothing to do.
  bool caller_drove() const { return calls_.load(std::memory_order_relaxed) > 0; }
  // One pause or yield, in which a caller may take over; true when it is time to sleep.
  bool Step(transport::Waiter* waiter);
  // As Parker's. Sleep lets go of the baton meanwhile.
  uint32_t PrepareToSleep();
  void CancelSleep() { parker_->Cancel(); }
  void Sleep(uint32_t seen, TimePoint deadline);

  // Any other thread. Who gets it either gives it back at once, or begins to drive.
  bool TryTake() { return mutex_.try_lock(); }

  // The rest of a caller's needs the baton.
  void BeginToDrive();
  // Before the last look for work; then SleepAsCaller, or not, and WakeUp in either case.
  uint32_t PrepareToSleepAsCaller() { return doorbell_->PrepareCaller(); }
  // False when a signal ended it.
  bool SleepAsCaller(uint32_t seen, TimePoint deadline) const;
  void WakeUp();
  // From here on the engine thread hears again what it heard before, or peers, too. True if the
  // caller has to look for work once more, because the engine thread will not look by itself.
  bool PrepareToLeave(bool waits_for_peers);
  // Whether the engine thread looks around by itself in time for that deadline.
  bool EngineWakesBy(TimePoint deadline) const;
  // Gives the baton away, and wakes the engine thread if that has to do something.
  void Leave(bool engine_is_needed);

 private:
  bool WantsToDoze();

  transport::Parker* const parker_;
  transport::Doorbell* const doorbell_;
  const Clock* const clock_;
  std::mutex mutex_;
  // Guarded by mutex_.
  TimePoint engine_sleeps_until_ = kNever;
  transport::Doorbell::Heed engine_heeds_ = transport::Doorbell::Heed::kNobody;
  Doze doze_;  // the engine thread's
  // That left nothing to do, since the engine thread went to sleep or dozed on. Relaxed: nothing is
  // read that it would promise.
  std::atomic<uint32_t> calls_{0};
};

}  // namespace rueda::engine
