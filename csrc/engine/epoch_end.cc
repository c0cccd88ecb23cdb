// EpochLoop, second part: how an epoch ends, in order or with an error.
#include <algorithm>
#include <utility>

#include "control/words.h"
#include "engine/epoch_loop.h"

namespace rueda::engine {
namespace {

// How long Stop, or the end after an error, waits for peers to leave this rank's memory.
constexpr Duration kLeaveGrace = std::chrono::milliseconds(200);
// How long an orderly Stop waits for rank 0's acknowledgement and runs what was agreed before it.
constexpr Duration kDrainLimit = std::chrono::seconds(10);

}  // namespace

void EpochLoop::RequestStop(const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    stop_reason_ = reason;
  }
  stopping_.store(true, std::memory_order_release);
  parts_->parker->Unpark();
}

Result<bool> EpochLoop::Leave() {
  if (!stopping_.load(std::memory_order_acquire)) return false;
  if (!leave_offered_) {
    if (!ReadyToLeave()) return false;
    leave_offered_ = true;
    RUEDA_RETURN_IF_ERROR(negotiator_.StopOffering());
    drain_until_ = parts_->clock->Now() + kDrainLimit;
    control::Batch batch;
    {
      std::lock_guard lock(mutex_);
      batch.leave_reason = stop_reason_;
    }
    leaves_in_order_ = batch.leave_reason->empty();
    if (!road_->closed()) RUEDA_RETURN_IF_ERROR(road_->Offer(batch));
    return true;
  }
  if (StaysForOthers()) {
    Stay();
    return false;
  }
  if (parts_->clock->Now() >= drain_until_) {
    // A rank 0 that does not answer is left all the same; peers in a bucket must hear of it.
    if (!executor_.idle()) return Status(StatusCode::kShutDown, LeftInMidBucket());
    return !std::exchange(gave_up_leaving_, true);
  }
  if (!road_->closed()) return false;
  return !std::exchange(gave_up_leaving_, true);
}

bool EpochLoop::ReadyToLeave() {
  return std::all_of(listeners_.begin(), listeners_.end(),
                     [](const auto& listener) { return listener->ReadyToLeave(); });
}

// Rank 0 agrees for sets without it, too. Once its own part is over it stays until none of them is
// whole; but not after an exception, which is to end the job.
bool EpochLoop::StaysForOthers() const {
  return leaves_in_order_ && negotiator_.leave_acknowledged() && executor_.idle() &&
         !road_->Dependents().empty();
}

void EpochLoop::Stay() {
  const TimePoint now = parts_->clock->Now();
  if (stays_since_ == kNever) {
    stays_since_ = now;
    // What was not agreed never will be.
    const Status over = LeftWithWork();
    table_->Close(over);
    table_->CompleteAll(over);
  }
  if (!stay_told_ && now >= After(stays_since_, kDrainLimit)) {
    stay_told_ = true;
    parts_->log(LogLevel::kWarning,
                "rank 0 shut down and stays, because it agrees for process sets without it, too: " +
                    control::NamedRankList(parts_->topology, road_->Dependents()) +
                    " still work in such. It goes when they shut down.");
  }
  drain_until_ = now + kDrainLimit;
}

bool EpochLoop::HasLeft() const {
  if (!negotiator_.leave_acknowledged() && !gave_up_leaving_) return false;
  if (!executor_.idle() || StaysForOthers()) return false;
  return road_->Flushed() || parts_->clock->Now() >= drain_until_;
}

Status EpochLoop::LeftWithWork() const {
  return {StatusCode::kShutDown, parts_->topology.Describe(parts_->topology.rank) +
                                     " shut rueda down with work in flight."};
}

std::string EpochLoop::LeftInMidBucket() const {
  return parts_->topology.Describe(parts_->topology.rank) +
         " was shut down while a bucket ran that did not end within " +
         std::to_string(std::chrono::duration_cast<std::chrono::seconds>(kDrainLimit).count()) +
         " s. Wait for asynchronous work before shutdown().";
}

Status EpochLoop::CauseOf(const Status& found) {
  // A victim closes its connections, too, and a rank that was stopped finds its own time over when
  // it goes on: what the others have said of their end meanwhile names the cause.
  if (found.code() != StatusCode::kPeerLost && found.code() != StatusCode::kTimedOut) return found;
  const Status told =
      parts_->membership != nullptr ? parts_->membership->Check() : road_->Poll().status();
  return told.ok() ? found : told;
}

void EpochLoop::End(const Status& why) {
  std::string reason;
  {
    std::lock_guard lock(mutex_);
    first_error_ = why;
    reason = stop_reason_;
  }
  const Status answer = why.ok() ? LeftWithWork() : why;
  if (tuner_ != nullptr && why.ok()) tuner_->Stop();
  table_->Close(answer);
  executor_.Abort(answer);
  // Peers hear why before any connection closes, so that nobody blames this rank for another's
  // death.
  road_->Farewell(why, reason);
  if (parts_->membership != nullptr) {
    why.ok() ? parts_->membership->AnnounceLeft() : parts_->membership->AnnounceFailure(why);
  }
  // Their threads, if they have any, end here: nothing touches tensors once their tickets complete
  // (I4).
  executor_.DropBackends();
  if (!why.ok() && parts_->membership != nullptr) WaitUntilPeersAreGone();
  road_.reset();  // its channels lie in memory that Stop unmaps
  table_->CompleteAll(answer);
  // With its thread, if it has one.
  std::erase_if(listeners_,
                [](const auto& listener) { return listener->topic() == AsideTopic::kStall; });
}

void EpochLoop::WaitUntilPeersAreGone() {
  const TimePoint limit = parts_->clock->Now() + kLeaveGrace;
  while (true) {
    const uint32_t seen = parts_->parker->Prepare();
    if (parts_->membership->EveryoneGone()) return parts_->parker->Cancel();
    if (parts_->clock->Now() >= limit) break;
    parts_->parker->Park(seen, limit);
  }
  // A peer that hangs in the middle of a bucket may write into ours at any later time.
  if (parts_->heap != nullptr) parts_->heap->Sever();
}

Status EpochLoop::first_error() {
  std::lock_guard lock(mutex_);
  return first_error_;
}

}  // namespace rueda::engine
