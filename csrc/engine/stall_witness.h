// StallWitness: what this rank tells rank 0 of itself when others wait for it.
#pragma once

#include <functional>
#include <optional>

#include "control/rank_account.h"
#include "core/status.h"
#include "engine/control_road.h"
#include "engine/engine_parts.h"
#include "engine/executor.h"
#include "engine/program_witness.h"
#include "engine/submission_table.h"

namespace rueda::engine {

// The engine thread's. Everything it is given outlives it.
class StallWitness {
 public:
  StallWitness(const EngineParts* parts, SubmissionTable* table, const Executor* executor);

  // What the engine knows now.
  control::RankFacts Facts() const;
  ProgramWitness& program() { return program_; }

  // Rank 0 asks; or rank 0 is asked by one that waits for it, which wants to know only that it is
  // there.
  void Hear(const control::StallQuestion& question, int from);
  // Tells who asked what is ready and fits; true if anything was told.
  Result<bool> Step(ControlRoad* road);

  // This rank is about to leave in order.
  void Leaving() { leaving_ = true; }

 private:
  const EngineParts* parts_;
  SubmissionTable* table_;
  const Executor* executor_;
  ProgramWitness program_;
  bool leaving_ = false;
  int asked_by_ = 0;
  std::optional<uint32_t> facts_for_;    // the question that waits for facts
  std::optional<uint32_t> program_for_;  // and for the program's word
};

}  // namespace rueda::engine
