// LayoutLearner: what all ranks saw of the first steps, until they decide on a layout from it.
//
// In each step until then every rank offers one small all-reduce of what it has seen, and all get
// the same sums. They decide in the step in which all ranks of the process set say that they have
// seen enough; one that has joined says nothing, so nothing is decided without it. Why nobody is
// ever alone in it: docs/decisions/0016-buckets-are-learned-once.md.
//
// Note comes from autograd's threads, for each parameter from one at a time, and an offer from one
// of them or after the pass; everything else from one thread and not during a backward pass, like
// GradientReducer.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "control/request.h"
#include "core/clock.h"
#include "core/status.h"
#include "engine/engine.h"
#include "engine/ticket.h"
#include "torch/layout_learning.h"

namespace rueda::pytorch {

struct LearningOptions {
  // This rank's place in the process set, and how many it has; below two nothing is learned.
  int rank = 0;
  int size = 0;
  bool keeps_limits = false;  // somebody chose the sizes; it is enough if one rank says so
};

// The same on every rank.
struct Learned {
  bool has_room = false;  // every rank's shared memory can hold a second layout
  bool keeps_limits = false;
  BucketCost cost;
  std::vector<double> arrivals;  // seconds, by parameter; empty if no rank saw a step
};

class LayoutLearner {
 public:
  LayoutLearner(std::string reducer, uint32_t process_set, LearningOptions options);
  LayoutLearner(const LayoutLearner&) = delete;
  LayoutLearner& operator=(const LayoutLearner&) = delete;

  // Before anything else, where there is a layout to be learned. Nothing happens without it.
  void Begin(size_t parameters);
  bool active() const { return active_; }
  // Whether this rank has seen enough.
  bool ready() const;
  // The gradient of `parameter` is complete.
  void Note(size_t parameter);
  // True for one caller a step, who calls Offer. Any thread.
  bool BeginOffer() { return !offer_begun_.exchange(true, std::memory_order_relaxed); }
  // Offers what earlier steps have shown.
  void Offer(engine::Engine& engine, bool has_room);
  // All buckets were submitted, and these are waited for from here on, the first since `since`.
  void BeginWait(TimePoint since, WaitedBuckets waited);
  // The ticket of this step while it is not done, else null.
  engine::TicketPtr pending() const;
  // Ends the step. What was learned, once, or null.
  std::unique_ptr<const Learned> EndStep();

 private:
  void CountStep();
  void EndWait();
  void TakeSample();
  // Where this rank's numbers are in what is offered.
  double* Waited();
  std::unique_ptr<const Learned> Conclude(const std::vector<double>& sums) const;

  const std::string name_;
  const uint32_t process_set_;
  const LearningOptions options_;
  size_t parameters_ = 0;
  bool active_ = false;
  control::SharedRequest request_;
  // By parameter: when its gradient was complete in this step, as the clock counts; 0 if it is not.
  std::vector<std::atomic<int64_t>> arrivals_;
  int64_t all_submitted_ = 0;  // when SubmitAll was, likewise
  std::atomic<bool> offer_begun_{false};
  WaitedBuckets waited_;  // of this step; buckets is 0 without any
  TimePoint waited_since_{};
  int steps_ = 0;
  std::vector<double> seen_;  // what is offered
  // Of this step: submissions in flight keep it alive.
  std::shared_ptr<std::vector<double>> offered_;
  engine::TicketPtr ticket_;
};

}  // namespace rueda::pytorch
