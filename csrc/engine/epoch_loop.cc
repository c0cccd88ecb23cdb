#include "engine/epoch_loop.h"

#include <algorithm>
#include <utility>

#include "device/reduce.h"
#include "transport/thread_setup.h"
#include "transport/waiter.h"

namespace rueda::engine {

using Heed = transport::Doorbell::Heed;

namespace {

// How long the engine thread leaves the field to callers that drive.
constexpr Duration kDoze = std::chrono::microseconds(250);

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
      listeners_(std::move(parts->listeners)) {
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
  std::unique_lock baton(baton_);
  transport::Waiter waiter;
  while (true) {
    Result<bool> moved = DriveOrFail();
    // Where callers drive this thread does not spin: it would be in their way.
    if (moved.ok() && !*moved && (caller_drove_ || Step(&waiter, &baton))) {
      const uint32_t seen = PrepareToSleep();
      moved = DriveOrFail();
      if (moved.ok() && !*moved && !HasLeft()) {
        SleepWithoutBaton(&baton, seen);
        waiter.Reset();
      } else {
        parts_->parker->Cancel();
      }
    }
    if (moved.ok() && *moved) waiter.Reset();
    if (moved.ok() && !HasLeft()) continue;
    ended_ = true;
    return End(moved.ok() ? Status::Ok() : CauseOf(moved.status()));
  }
}

// One pause or yield, in which a caller may take over; true when it is time to sleep.
bool EpochLoop::Step(transport::Waiter* waiter, std::unique_lock<std::mutex>* baton) {
  baton->unlock();
  const bool is_over = waiter->Step();
  baton->lock();
  return is_over;
}

uint32_t EpochLoop::PrepareToSleep() {
  transport::Doorbell* const doorbell = parts_->parker->doorbell();
  if (doorbell == nullptr) return parts_->parker->Prepare();
  return doorbell->Prepare(caller_drove_ ? Heed::kOwner : Heed::kEverybody);
}

void EpochLoop::SleepWithoutBaton(std::unique_lock<std::mutex>* baton, uint32_t seen) {
  engine_sleeps_until_ = NextDeadline();
  transport::Doorbell* const doorbell = parts_->parker->doorbell();
  if (doorbell == nullptr) {
    baton->unlock();
    parts_->parker->Park(seen, engine_sleeps_until_);
    return baton->lock();
  }
  if (std::exchange(caller_drove_, false)) {
    engine_sleeps_until_ = std::min(engine_sleeps_until_, parts_->clock->Now() + kDoze);
  }
  TimePoint until = engine_sleeps_until_;
  baton->unlock();
  doorbell->Sleep(seen, until);
  // Rung for, it waits for a caller that drives to end. Otherwise that caller looks after
  // everything, and rings if it is not enough.
  while (doorbell->Sequence() == seen && !baton->try_lock()) {
    until = parts_->clock->Now() + kDoze;
    doorbell->Sleep(seen, until);
  }
  if (!baton->owns_lock()) baton->lock();
  doorbell->Cancel();
}

Result<bool> EpochLoop::DriveOrFail() {
  if (!failure_.ok()) return failure_;
  return Drive();
}

bool EpochLoop::DriveFor(const Ticket& ticket, Duration slice) {
  transport::Doorbell* const doorbell = parts_->parker->doorbell();
  if (doorbell == nullptr) return false;
  const std::unique_lock baton(baton_, std::try_to_lock);
  if (!baton.owns_lock() || ended_ || !failure_.ok()) return false;
  const device::DefaultFloatingPointMode mode;
  const Heed heed = doorbell->heed();
  doorbell->Cancel();
  const bool is_done = DriveUntilDone(ticket, slice);
  doorbell->Prepare(heed);
  // The last look around, for an engine thread that will not look by itself.
  if (heed == Heed::kEverybody && failure_.ok()) {
    const Result<bool> moved = Drive();
    if (!moved.ok()) failure_ = moved.status();
  }
  // Who is handed work does not doze: it has to hear its peers.
  caller_drove_ = is_done && !EngineIsNeeded();
  if (!caller_drove_) doorbell->RingAsOwner();
  return is_done;
}

bool EpochLoop::DriveUntilDone(const Ticket& ticket, Duration slice) {
  // A thread's, so that it remembers across calls that its yields are slow.
  thread_local transport::Waiter waiter;
  waiter.Reset();
  const TimePoint until = slice == Duration::zero() ? kNever : parts_->clock->Now() + slice;
  while (!ticket.done()) {
    const Result<bool> moved = Drive();
    if (!moved.ok()) failure_ = moved.status();
    if (!moved.ok() || HasLeft()) return false;
    if (!*moved && waiter.Step()) return false;
    if (!*moved) continue;
    waiter.Reset();
    if (until != kNever && parts_->clock->Now() >= until) return false;
  }
  return true;
}

// Whether something is under way, or will be before the engine thread looks again.
bool EpochLoop::EngineIsNeeded() const {
  return !failure_.ok() || stopping_.load(std::memory_order_relaxed) || table_->has_new() ||
         !executor_.idle() || !road_->Flushed() || NextDeadline() < engine_sleeps_until_;
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
