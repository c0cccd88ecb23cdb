#include "engine/epoch_loop.h"

#include <algorithm>
#include <utility>

#include "device/reduce.h"
#include "transport/thread_setup.h"
#include "transport/waiter.h"

namespace rueda::engine {

namespace {

// A caller with a slice looks at the clock once in so many moves.
constexpr int kMovesBetweenLooks = 16;

std::unique_ptr<ControlRoad> MakeControlRoad(EngineParts* parts) {
  if (parts->topology.rank == 0) return MakeControlHost(*parts, std::move(parts->control));
  return MakeControlClient(*parts, std::move(parts->control.front()));
}

}  // namespace

EpochLoop::EpochLoop(EngineParts* parts, SubmissionTable* table)
    : parts_(parts),
      table_(table),
      road_(MakeControlRoad(parts)),
      executor_(&parts->topology, std::move(parts->backend), table, parts->clock.get()),
      negotiator_(parts, table, road_.get(), &executor_),
      listeners_(std::move(parts->listeners)),
      baton_(parts->parker.get(), parts->clock.get()) {
  const auto is_about_stalls = [](const auto& listener) {
    return listener->topic() == AsideTopic::kStall;
  };
  if (std::none_of(listeners_.begin(), listeners_.end(), is_about_stalls)) {
    listeners_.push_back(std::make_unique<StallInspector>(parts, table, &executor_));
  }
  if (!parts->autotune) return;
  tuner_ = std::make_unique<Autotuner>(*parts->autotune, parts->coordinator.limits,
                                       parts->clock.get(), parts->log);
  Watch(tuner_.get());
}

void EpochLoop::Run() {
  transport::NameThisThread("rueda-engine");
  device::UseDefaultFloatingPointMode();
  baton_.Take();
  transport::Waiter waiter;
  waiter.Reset(parts_->in_a_crowd ? transport::Waiter::kCrowdSpin : transport::Waiter::kSpin);
  while (true) {
    Result<bool> moved = DriveOrFail();
    if (moved.ok() && !*moved) MakeRoomForPeers(&waiter);
    // Where callers drive this thread does not spin: it would be in their way.
    if (moved.ok() && !*moved && (baton_.caller_drove() || baton_.Step(&waiter))) {
      const uint32_t seen = baton_.PrepareToSleep();
      moved = DriveOrFail();
      if (moved.ok() && !*moved && !HasLeft()) {
        baton_.Sleep(seen, NextDeadline());
        waiter.Reset();
      } else {
        baton_.CancelSleep();
      }
    }
    if (moved.ok() && *moved) waiter.Reset();
    if (moved.ok() && !HasLeft()) continue;
    ended_ = true;
    End(moved.ok() ? Status::Ok() : CauseOf(moved.status()));
    return baton_.Give();
  }
}

Result<bool> EpochLoop::DriveOrFail() {
  if (!failure_.ok()) return failure_;
  return Drive();
}

Result<bool> EpochLoop::DriveAsCaller() {
  Result<bool> moved = DriveOrFail();
  if (!moved.ok()) failure_ = moved.status();
  return moved;
}

EpochLoop::Driven EpochLoop::DriveFor(const Ticket& ticket, Duration slice) {
  if (!TakeBaton()) return Driven::kByOthers;
  const device::DefaultFloatingPointMode mode;
  baton_.BeginToDrive();
  parts_->whereabouts.Show();
  const Driven driven = DriveUntilDone(ticket, slice);
  LeaveToEngine(driven == Driven::kDone);
  return driven;
}

bool EpochLoop::TakeBaton() {
  if (!baton_.callers_can_drive() || !baton_.TryTake()) return false;
  if (!ended_ && failure_.ok()) return true;
  baton_.Give();
  return false;
}

const transport::Waiter::Spin& EpochLoop::SpinFor(const Ticket& ticket) const {
  // A rank that has joined hears of all that the others do, and has no part in it.
  if (ticket.takes_long()) return transport::Waiter::kNoSpin;
  return parts_->in_a_crowd ? transport::Waiter::kCrowdSpin : transport::Waiter::kCallSpin;
}

void EpochLoop::MakeRoomForPeers(transport::Waiter* waiter) {
  if (parts_->whereabouts.PeerIsHere()) waiter->SkipPauses();
}

// The slice begins when the clock is first looked at: most calls are over before.
EpochLoop::Driven EpochLoop::DriveUntilDone(const Ticket& ticket, Duration slice) {
  // A thread's, so that it remembers across calls that its yields are slow.
  thread_local transport::Waiter waiter;
  waiter.Reset(SpinFor(ticket));
  TimePoint until = kNever;
  const auto begin_slice = [&] {
    if (until == kNever && slice != Duration::zero()) until = parts_->clock->Now() + slice;
  };
  for (int moves = 0; !ticket.done();) {
    const Result<bool> moved = DriveAsCaller();
    if (!moved.ok() || HasLeft()) return Driven::kByOthers;
    if (!*moved) MakeRoomForPeers(&waiter);
    if (!*moved && !waiter.Step()) continue;
    // With other work in flight the engine thread has to go on when this call is done: from now on.
    if (!*moved && table_->SomeInFlight(0).count > 1) return Driven::kByOthers;
    if (*moved && ++moves % kMovesBetweenLooks != 0) {
      waiter.Reset();
      continue;
    }
    begin_slice();
    if (!*moved && !SleepAsCaller(ticket, until)) return Driven::kInterrupted;
    waiter.Reset();
    if (until != kNever && parts_->clock->Now() >= until) return Driven::kInterrupted;
  }
  return Driven::kDone;
}

// False when a signal ended it, and somebody wants to know.
bool EpochLoop::SleepAsCaller(const Ticket& ticket, TimePoint until) {
  const uint32_t seen = baton_.PrepareToSleepAsCaller();
  const Result<bool> moved = DriveAsCaller();
  bool interrupted = false;
  if (moved.ok() && !*moved && !HasLeft() && !ticket.done()) {
    interrupted = !baton_.SleepAsCaller(seen, std::min(until, NextDeadline()));
  }
  baton_.WakeUp();
  return !interrupted || until == kNever;
}

void EpochLoop::LeaveToEngine(bool is_done) {
  const bool waits_for_peers = table_->SomeInFlight(0).count > 0;
  if (baton_.PrepareToLeave(waits_for_peers)) (void)DriveAsCaller();
  baton_.Leave(!is_done || EngineIsNeeded());
}

// Whether something is under way, or will be before the engine thread looks again.
bool EpochLoop::EngineIsNeeded() const {
  return !failure_.ok() || stopping_.load(std::memory_order_relaxed) || table_->has_new() ||
         !executor_.idle() || !road_->Flushed() || !baton_.EngineWakesBy(NextDeadline());
}

Result<bool> EpochLoop::Drive() {
  if (parts_->membership != nullptr) RUEDA_RETURN_IF_ERROR(parts_->membership->Check());
  Result<bool> offered = negotiator_.Offer();
  if (!offered.ok()) return offered;
  // Before anything is agreed: a step's first frame has the limits that the step is to be measured
  // under.
  if (tuner_ != nullptr) Tune();
  Result<bool> agreed = negotiator_.Agree();
  if (!agreed.ok()) return agreed;
  // Before anything completes: an aside is heard before what a frame behind it agreed is done.
  Result<bool> conversed = Converse();
  if (!conversed.ok()) return conversed;
  Result<bool> left = Leave();
  if (!left.ok()) return left;
  Result<bool> stepped = executor_.Step();
  if (!stepped.ok()) return stepped;
  return *offered || *agreed || *left || *stepped || *conversed;
}

void EpochLoop::Tune() {
  road_->SetLimits(tuner_->limits());
  if (!tuner_->finished()) return;
  tuner_->Stop();
  Watch(nullptr);
  tuner_.reset();
}

void EpochLoop::Watch(Autotuner* tuner) {
  negotiator_.Watch(tuner);
  executor_.Watch(tuner);
}

Result<bool> EpochLoop::Converse() {
  bool moved = false;
  while (const std::optional<Aside> aside = road_->TakeAside()) {
    for (const auto& listener : listeners_) {
      if (listener->topic() == aside->topic) RUEDA_RETURN_IF_ERROR(listener->Hear(*aside));
    }
    moved = true;
  }
  for (const auto& listener : listeners_) {
    Result<bool> stepped = listener->Step(road_.get());
    if (!stepped.ok()) return stepped;
    moved |= *stepped;
  }
  return moved;
}

TimePoint EpochLoop::NextDeadline() const {
  TimePoint next = std::min(
      {executor_.deadline(), road_->NextDeadline(), negotiator_.NextDeadline(), drain_until_});
  for (const auto& listener : listeners_) next = std::min(next, listener->NextDeadline());
  return next;
}

}  // namespace rueda::engine
