#include "engine/baton.h"

#include <algorithm>
#include <cerrno>

namespace rueda::engine {

using Heed = transport::Doorbell::Heed;

bool Baton::Step(transport::Waiter* waiter) {
  mutex_.unlock();
  const bool is_over = waiter->Step();
  Take();
  return is_over;
}

uint32_t Baton::PrepareToSleep() {
  if (doorbell_ == nullptr) return parker_->Prepare();
  return doorbell_->Prepare(caller_drove() ? Heed::kOwner : Heed::kEverybody);
}

void Baton::Sleep(uint32_t seen, TimePoint deadline) {
  if (doorbell_ == nullptr) {
    mutex_.unlock();
    parker_->Park(seen, deadline);
    return mutex_.lock();
  }
  engine_sleeps_until_ =
      WantsToDoze() ? std::min(deadline, clock_->Now() + doze_.length()) : deadline;
  TimePoint until = engine_sleeps_until_;
  mutex_.unlock();
  do {
    doorbell_->Sleep(seen, until);
    until = clock_->Now() + doze_.length();
  } while (doorbell_->Sequence() == seen && WantsToDoze());
  Take();
}

bool Baton::WantsToDoze() {
  const uint32_t calls = calls_.exchange(0, std::memory_order_relaxed);
  doze_.Over(calls);
  return calls > 0;
}

// Whoever drives looks after everything, and rings when it leaves if that was not enough. So there
// is no haste, and sleeping on the mutex would make every caller that leaves wake this thread.
void Baton::Take() {
  if (doorbell_ == nullptr) return mutex_.lock();
  for (Duration doze = Doze::kShortest;; doze = Doze::Longer(doze)) {
    const uint32_t seen = doorbell_->Sequence();
    if (mutex_.try_lock()) return doorbell_->Cancel();
    doorbell_->Sleep(seen, doorbell_->LeaveToCaller() ? kNever : clock_->Now() + doze);
  }
}

void Baton::BeginToDrive() {
  engine_heeds_ = doorbell_->heed();
  doorbell_->Cancel();
}

bool Baton::SleepAsCaller(uint32_t seen, TimePoint deadline) const {
  return doorbell_->SleepAsCaller(seen, deadline) != EINTR;
}

void Baton::WakeUp() {
  if (!doorbell_->CancelCaller()) return;
  // The engine thread has left everything to this caller, and sleeps without a deadline.
  engine_heeds_ = Heed::kEverybody;
  engine_sleeps_until_ = kNever;
}

bool Baton::PrepareToLeave(bool waits_for_peers) {
  // It was awake, and found that it had lost the baton.
  if (engine_heeds_ == Heed::kNobody) engine_heeds_ = Heed::kOwner;
  if (waits_for_peers) engine_heeds_ = Heed::kEverybody;
  doorbell_->Prepare(engine_heeds_);
  return engine_heeds_ == Heed::kEverybody;
}

bool Baton::EngineWakesBy(TimePoint deadline) const {
  if (deadline == kNever) return true;
  // It may begin another doze when this one ends.
  return std::max(engine_sleeps_until_, clock_->Now() + 2 * Doze::kLongest) <= deadline;
}

void Baton::Leave(bool engine_is_needed) {
  // Who is handed work does not doze: it has to hear its peers.
  if (engine_is_needed) {
    calls_.store(0, std::memory_order_relaxed);
  } else {
    calls_.fetch_add(1, std::memory_order_relaxed);
  }
  mutex_.unlock();
  if (engine_is_needed) doorbell_->RingAsOwner();
}

}  // namespace rueda::engine
