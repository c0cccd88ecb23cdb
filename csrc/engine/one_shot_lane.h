// OneShotLane: which calls go to a meeting of all ranks, and what becomes of them there.
//
// A small call that somebody waits for goes to the open meeting (backends/one_shot.h) instead of
// being offered. Where all ranks want the same there, it is done; else it is offered as any other.
// So meetings change when a call is done, and never what comes of it. For that
//   * a rank that waits for an answer to a small offer calls off the meeting at which others are:
//     they may be there for the very tensor that it offered;
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

  // Takes the call to the next meeting; false: offer it.
  bool Take(Work* work);

  struct Outcome {
    bool moved = false;
    Work* to_offer = nullptr;  // its meeting came to nothing
  };
  // Looks what has become of the meeting.
  Outcome Step();
  // When Step has something to do even if nobody comes.
  TimePoint NextDeadline() const { return patient_until_; }

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
  TimePoint patient_until_ = kNever;
  int failures_ = 0;  // meetings that came to nothing since one did not
  int left_out_ = 0;  // calls to come that are offered at once
  // The last call's, which mostly comes again.
  std::shared_ptr<const control::Request> planned_for_;
  Bucket bucket_;
  uint64_t fingerprint_ = 0;
};

}  // namespace rueda::engine
