// StallInspector: finds out who is waited for and what they are doing, and reports it.
//
// On rank 0 it watches what the coordinator says is withheld and the own buckets that do not move,
// asks the ranks that are waited for, gives them a moment, and logs one report. On other ranks it
// answers, and reports what no lower rank can: a bucket that does not move, and a rank 0 that does
// not answer. What is said and when is decided by control/stall_report.h and control/stall_pace.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/coordinator.h"
#include "control/rank_account.h"
#include "control/stall_pace.h"
#include "control/stall_report.h"
#include "engine/aside.h"
#include "engine/control_road.h"
#include "engine/engine_parts.h"
#include "engine/executor.h"
#include "engine/stall_witness.h"
#include "engine/submission_table.h"

namespace rueda::engine {

// The engine thread's. Everything it is given outlives it.
class StallInspector final : public AsideListener {
 public:
  StallInspector(const EngineParts* parts, SubmissionTable* table, const Executor* executor);

  AsideTopic topic() const override { return AsideTopic::kStall; }
  Status Hear(const Aside& aside) override;
  Result<bool> Step(ControlRoad* road) override;
  TimePoint NextDeadline() const override;
  bool ReadyToLeave() override {
    witness_.Leaving();
    return true;
  }

 private:
  struct Inquiry {
    uint32_t number = 0;
    TimePoint deadline;
    bool is_for_report = false;  // not only for the errors of what is about to be given up
    std::vector<control::RankAccount> accounts;
    std::vector<int> unasked;
  };

  // What this rank has offered and rank 0 has not answered, since nothing else moved here.
  struct Unanswered {
    int64_t completed = 0;
    size_t in_flight = 0;
    TimePoint since = kNever;  // kNever: nothing waits
  };

  bool Warns() const { return limit_ > Duration::zero(); }
  // On ranks but 0: notes whether something waits for rank 0. Before the thread sleeps.
  void NoteUnanswered() const;
  TimePoint UnansweredDeadline() const;
  control::QuietRun UnansweredOffer(TimePoint now) const;
  bool HasNothingToWatch() const;
  bool SeesQuiet(TimePoint now) const;
  bool SeesUnanswered(TimePoint now) const;
  // True if something stalls that is to be looked at now; then `ranks` are those waited for.
  bool IsWorthALook(const std::vector<control::Stall>& fresh, bool began, TimePoint now,
                    std::vector<int>* ranks);
  std::vector<control::QuietRun> QuietRuns(TimePoint now) const;
  // Whether this is the lowest of `ranks` that can tell of a bucket that waits for `waits_for`.
  bool SpeaksFor(const std::vector<int>& ranks, const std::vector<int>& waits_for) const;
  // When what is about to be given up is to be asked about; kNever if nothing is.
  TimePoint LastChance() const;

  void Begin(const std::vector<int>& ranks, bool is_for_report, TimePoint now);
  Status Ask(ControlRoad* road);
  bool HasAllAnswers() const;
  void Conclude(TimePoint now);
  void Report(std::vector<control::RankAccount> accounts, TimePoint now);
  void CheckOver(TimePoint now);
  char ProcessOf(int rank, int64_t* pid) const;
  void Say(const std::string& headline, const std::string& text) const;

  const EngineParts* parts_;
  SubmissionTable* table_;
  const Executor* executor_;
  const Duration limit_;
  const Duration give_up_after_;
  StallWitness witness_;
  control::Coordinator* coordinator_ = nullptr;  // rank 0's, once Step has met it
  control::StallPace pace_;

  mutable Unanswered unanswered_;  // as NextDeadline has seen it
  bool stalls_ = false;
  TimePoint began_;  // the oldest of what stalls was first offered, or began to run
  control::StallTally tally_before_;  // when it began to stall
  TimePoint look_again_;
  uint32_t inquiries_ = 0;
  TimePoint inquired_at_;
  std::optional<Inquiry> inquiry_;
};

}  // namespace rueda::engine
