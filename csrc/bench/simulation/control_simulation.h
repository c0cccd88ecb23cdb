// ControlSimulation: steps of the control plane with any number of simulated ranks, in virtual
// time.
//
// The pieces are those of a real job: messages, slots, plans, and rank 0's coordinator. What they
// compute is measured where they run; what messages take is a parameter. No rank is started. For
// one thread.
#pragma once

#include <cstdint>
#include <memory>

#include "bench/simulation/control_workload.h"
#include "bench/simulation/cost_book.h"
#include "bench/simulation/links.h"
#include "core/clock.h"
#include "core/status.h"

namespace rueda::bench {

enum class ControlTopology { kStar, kTree };

struct ControlOptions {
  ControlWorkloadOptions workload;
  Links links;
  ControlTopology topology = ControlTopology::kStar;
  // Of a tree: hosts below a host, and how long a relay waits for ranks that are late.
  int fan_out = 4;
  Duration patience = std::chrono::milliseconds(10);
  // Each rank submits at a random time up to this.
  Duration skew{};
  // A rank that plans otherwise than the others, as tests want; -1: none.
  int misplans = -1;
};

// One step. Times begin when the last rank has submitted; `up`, `decide`, `down` and `plan` are the
// parts of `total`.
struct ControlStep {
  Duration total{};   // until the last rank has its plan
  Duration up{};      // until the coordinator has the last offer
  Duration decide{};  // until it has decided, and encoded its answer
  Duration down{};    // until the last rank begins to read the answer
  Duration plan{};    // until that one has its plan
  Duration root_cpu{};
  Duration other_cpu{};    // the mean of the others
  Duration busiest_cpu{};  // the most of any other
  int64_t messages = 0;
  int64_t root_messages = 0;  // of these, into rank 0
  int64_t bytes = 0;
  int64_t root_bytes = 0;
  int64_t frames = 0;
};

class ControlSimulation {
 public:
  // The meter's clock outlives the simulation. kInvalidArgument for fewer than two ranks, or no
  // tensor; other errors are the job's.
  static Result<std::unique_ptr<ControlSimulation>> Make(const ControlOptions& options,
                                                         const CostMeter& meter);
  ~ControlSimulation();

  // The next step of the job; where each step is a job's first, a new one. kMismatch if ranks plan
  // differently, kCorrupt if one has no answer.
  Result<ControlStep> Step();

 private:
  class Job;
  ControlSimulation(const ControlOptions& options, const CostMeter& meter);
  Status Begin();

  const ControlOptions options_;
  const CostMeter meter_;
  std::unique_ptr<Job> job_;
};

}  // namespace rueda::bench
