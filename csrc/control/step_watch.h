// StepWatch: cuts one rank's work into training steps, and tells how long each communicated.
//
// A step ends where a name comes back that it has had; unnamed work, whose names never come back,
// belongs to the step at hand. A step's span is from its first submission to its last result, so
// what lies between two steps (reading data, the optimizer, an evaluation) counts against no
// setting, and what overlaps with communication does: that is what a setting can slow down. Work
// that moves nothing (barriers, joins, process sets) is not looked at.
//
// Pure; one thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_set>

#include "control/request.h"
#include "core/clock.h"

namespace rueda::control {

struct Step {
  int works = 0;
  int64_t bytes = 0;  // that this rank submitted
  Duration span{};
};

class StepWatch {
 public:
  // `request` was submitted. Returns the step that ended just before it, if one did.
  std::optional<Step> Submitted(const Request& request, TimePoint now);
  // `request`, which was submitted before, has its result or its error.
  void Completed(const Request& request, TimePoint now);

 private:
  Step step_;
  TimePoint began_{};
  TimePoint last_result_{};
  int in_flight_ = 0;                 // of any step
  std::unordered_set<size_t> names_;  // of this step, hashed
};

}  // namespace rueda::control
