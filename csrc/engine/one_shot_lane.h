// OneShotLane: which calls go to a meeting of all ranks, and what becomes of them there.
//
// A call that somebody waits for goes to the open meeting (backends/one_shot.h) instead of being
// offered. Where all ranks want the same there, a small one is done, and another one that has a
// slot is agreed on, as by a frame that nobody had to send. Else it is offered as any other. So
// meetings change when a call is done, and never what comes of it. For that
//   * a rank that waits for an answer to what might be called there calls off the meeting at which
//     others are: they may be there for the very tensor that it offered;
//   * buckets run on all ranks in one order (I1), so who is at a meeting for one takes no frame in,
//     and ends nothing, before it knows the verdict;
//   * who has waited there for long calls it off, too: only the coordinator knows of joined ranks,
//     and of those that everybody waits for;
//   * a rank whose meeting came to nothing offers more calls at once each time. Those who came
//     count alike, because the verdict is the same for all.
//
// Who drives the engine.
#pragma once

#include <memory>

#include "backends/one_shot.h"
#include "control/planner.h"
#include "core/clock.h"
#include "engine/engine_parts.h"
#include "engine/executor.h"
#include "engine/submission_table.h"

namespace rueda::engine {

class OneShotLane {
 public:
  // All outlive it. Without a backend that has meetings it takes no calls.
  OneShotLane(const EngineParts* parts, backends::OneShot* meetings, SubmissionTable* table,
              Executor* executor)
      : parts_(parts), meetings_(meetings), table_(table), executor_(executor) {}

  // Takes the call to the next meeting; false: offer it. `slot_wish` stands for the call's slot
  // (control::FingerprintOf), 0 if it has none.
  bool Take(Work* work, uint64_t slot_wish);

  struct Outcome {
    bool moved = false;
    Work* to_offer = nullptr;  // its meeting came to nothing
    Work* to_run = nullptr;    // it is agreed that this is what runs next
  };
  // Looks what has become of the meeting.
  Outcome Step();
  // When Step has something to do even if nobody comes.
  TimePoint NextDeadline() const { return patient_until_; }

  // Whether a verdict may come that something is to run: Settle before anything that this rank
  // could not take back, such as another frame. A Step after it tells the verdict.
  bool MayRun() const { return came_ && for_slot_; }
  void Settle() { meetings_->CallOff(); }

  // Whether the call waits at the meeting; and if so, it is none of the lane's any more.
  bool Has(const Work* work) const { return work_ == work; }
  void Forget(const Work* work) {
    if (Has(work)) work_ = nullptr;
  }

  // There are no more meetings, of any rank; a call that waits at one is left to the table.
  void End();

 private:
  // So long a call waits for ranks that are late.
  static constexpr Duration kPatience = std::chrono::milliseconds(10);
  static constexpr int kMostFailures = 6;

  bool IsFit(const Work& work) const;
  bool IsSmall(const control::Request& request) const;
  bool PlanFor(const std::shared_ptr<const control::Request>& request);
  bool AwaitsAnswers() const;
  bool CallOff();
  Outcome Agreed();
  Outcome Apart();

  const EngineParts* parts_;
  backends::OneShot* meetings_;
  SubmissionTable* table_;
  Executor* executor_;
  Work* work_ = nullptr;  // at the meeting, unless it has ended there
  bool came_ = false;
  bool for_slot_ = false;  // it came to agree on a slot
  TimePoint patient_until_ = kNever;
  int failures_ = 0;  // meetings that came to nothing since one did not
  int left_out_ = 0;  // calls to come that are offered at once
  // The last call's, which mostly comes again.
  std::shared_ptr<const control::Request> planned_for_;
  Bucket bucket_;
  uint64_t fingerprint_ = 0;
};

}  // namespace rueda::engine
