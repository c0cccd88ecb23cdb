// EpochLoop: drives one rank's epoch from its first submission to its end.
//
// One thread drives at a time, the one that has the baton: the engine thread, or a caller that
// waits for a ticket while the engine thread sleeps. So a synchronous call takes no change of
// threads. A caller drives until its ticket is done, and sleeps as the driver where that is all
// that this rank has in flight; otherwise, and with what only the engine thread does (errors,
// leaving), it wakes that thread instead.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/status.h"
#include "engine/baton.h"
#include "engine/control_road.h"
#include "engine/engine_parts.h"
#include "engine/executor.h"
#include "engine/negotiator.h"
#include "engine/stall_inspector.h"
#include "engine/submission_table.h"
#include "transport/waiter.h"

namespace rueda::engine {

// Run is the engine thread's; the rest says which thread may call it. What is not said to be
// guarded otherwise belongs to who has the baton.
class EpochLoop {
 public:
  // Takes the control channels, the backend and the listeners out of the parts. Parts and table
  // outlive the loop.
  EpochLoop(EngineParts* parts, SubmissionTable* table);

  // Drives until the epoch is over; then everything in flight has completed.
  void Run();

  enum class Driven {
    kDone,         // the ticket is
    kInterrupted,  // the slice has passed, or a signal came: the engine thread drives on
    kByOthers      // somebody else drives or has to, or no caller can here
  };
  // Drives until the ticket is done, and sleeps where nothing moves; with a slice (not zero) for no
  // longer than that, and until a signal comes. Any thread; not in a forked child.
  Driven DriveFor(const Ticket& ticket, Duration slice);

  // Makes Run leave the job in order, telling the peers why. Any thread.
  void RequestStop(const std::string& reason);
  // The error that ended the epoch, or ok. Any thread.
  Status first_error();

 private:
  // One round: never blocks; true if anything was done. An error ends the epoch.
  Result<bool> Drive();
  TimePoint NextDeadline() const;

  Result<bool> Converse();
  void Tune();
  void Watch(Autotuner* tuner);
  Result<bool> Leave();
  bool ReadyToLeave();
  bool StaysForOthers() const;
  void Stay();
  bool HasLeft() const;
  Status LeftWithWork() const;
  std::string LeftInMidBucket() const;

  Result<bool> DriveOrFail();
  Result<bool> DriveAsCaller();
  bool TakeBaton();
  const transport::Waiter::Spin& SpinFor(const Ticket& ticket) const;
  void MakeRoomForPeers(transport::Waiter* waiter);
  Driven DriveUntilDone(const Ticket& ticket, Duration slice);
  bool SleepAsCaller(const Ticket& ticket, TimePoint until);
  void LeaveToEngine(bool is_done);
  bool EngineIsNeeded() const;

  Status CauseOf(const Status& found);
  void End(const Status& why);
  void WaitUntilPeersAreGone();

  EngineParts* parts_;
  SubmissionTable* table_;
  std::unique_ptr<ControlRoad> road_;
  Executor executor_;
  Negotiator negotiator_;
  std::unique_ptr<Autotuner> tuner_;  // while it searches, on rank 0
  std::vector<std::unique_ptr<AsideListener>> listeners_;
  bool leave_offered_ = false;
  bool gave_up_leaving_ = false;  // nobody acknowledged in time, or nobody is there to do it
  bool leaves_in_order_ = false;
  TimePoint stays_since_ = kNever;  // for others, after its own part
  bool stay_told_ = false;
  TimePoint drain_until_ = kNever;

  Baton baton_;
  Status failure_;      // what a caller's drive came to: the engine thread ends the epoch
  bool ended_ = false;  // nobody drives any more

  std::atomic<bool> stopping_{
      false};  // release after stop_reason_ is set, acquire before it is read
  std::mutex mutex_;
  std::string stop_reason_;  // guarded by mutex_
  Status first_error_;       // guarded by mutex_
};

}  // namespace rueda::engine
