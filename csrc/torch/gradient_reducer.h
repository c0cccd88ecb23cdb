// GradientReducer: reduces a model's gradients while backward still runs.
//
// It lays the parameters' gradients out in buckets, in the order in which backward produces them,
// listens to autograd, and submits each bucket to the engine as soon as its last gradient is there.
// What is missing at the end is submitted by SubmitAll. That order is taken to be the reverse of
// the parameters' at first and, where options.learning says so, learned from the first steps, with
// the sizes of buckets; then they are laid out anew, once. It holds no policy: when to wait, what
// to raise and whether to skip are the caller's.
//
// Threads: the hooks come from autograd's threads, without the GIL; everything else from one thread
// at a time and not during a backward pass, like an optimizer's step. Not copyable: an optimizer
// that is copied or pickled makes a reducer of its own.
//
// A step: [BeforeGradient, AfterGradient]... SubmitAll, wait until Pending is null, Finish. Before
// Finish, single buckets may be waited for (PendingIn) and their gradients taken (Deliver).
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "core/types.h"
#include "engine/engine.h"
#include "engine/ticket.h"
#include "torch/bucket_layout.h"
#include "torch/gradient_bucket.h"
#include "torch/gradient_slot.h"
#include "torch/layout_learner.h"
#include "torch/parameter_hook.h"

namespace rueda::pytorch {

struct NamedParameter {
  std::string name;
  at::Tensor tensor;
};

struct ReducerOptions {
  // Its buckets are called "<name>.<k>": the same on all ranks, another for each reducer.
  std::string name = "gradients";
  ReduceOp op = ReduceOp::kAverage;
  double prescale = 1.0;
  double postscale = 1.0;
  uint32_t process_set = 0;
  Compression compression = Compression::kNone;
  // Gradients of that many backward passes are summed locally and then reduced.
  int passes_per_step = 1;
  BucketLimits limits{int64_t{1} << 20, int64_t{25} << 20};
  // Numbers of parameters, not counting repetitions: each list is a bucket of its own, whatever its
  // size and element types, so that none of its gradients is reduced before all of them are there.
  std::vector<std::vector<size_t>> groups;
  // A sparse gradient goes into its bucket as soon as it is there, and becomes sparse again when it
  // is reduced, on the ranks that computed it sparse. Otherwise it waits for
  // SubmitAll, so that the caller may set its parameter apart first; where it does not, it is made
  // dense then.
  bool sparse_as_dense = false;
  // Set apart from the beginning: see SetApart.
  std::vector<size_t> apart;
  // Buckets have priorities, falling with their first parameter's number: what the next forward
  // pass needs first comes first.
  bool first_needed_first = false;
  // Without a size nothing is learned.
  LearningOptions learning;
};

class GradientReducer final : public GradientListener,
                              public std::enable_shared_from_this<GradientReducer> {
 public:
  // `parameters` in the order of the forward pass, as model.named_parameters() gives them. One that
  // is named twice (tied weights) counts once, under its first name. One that requires no gradient
  // takes part from the first synchronisation at which it does, so give it all of them.
  // kInvalidArgument or kUnsupported names a parameter whose gradient cannot be reduced.
  static Result<std::shared_ptr<GradientReducer>> Make(std::shared_ptr<engine::Engine> engine,
                                                       std::vector<NamedParameter> parameters,
                                                       ReducerOptions options);
  // Detaches. Never blocks: submissions in flight keep their memory themselves.
  ~GradientReducer() override;
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // Listens to autograd from now on. `python_hooks_of` says what module_reducer.cc knows of a
  // parameter.
  void Attach(const std::function<PythonHooks(const at::Tensor&)>& python_hooks_of);
  // No longer; gradients stay what they are. Idempotent.
  void Detach();

  void BeforeGradient(size_t index) override;
  void AfterGradient(size_t index) override;

  // From now on the caller reduces the gradients of these parameters (numbers as in `groups`);
  // passes into them are counted and guarded as before. kInvalidArgument for a number that is none,
  // and for a parameter whose bucket was submitted in this step; nothing was changed then.
  Status SetApart(const std::vector<size_t>& indices);

  // Submits what the hooks have not: parameters without a gradient count as zeros, and ones that
  // changed their element type or shape, or require a gradient only now, get a place first. The
  // caller's mistakes are returned before anything is submitted.
  Status SubmitAll();
  // A ticket that has to be waited for before Finish, or null. The work lives on if the caller
  // gives up waiting; SubmitAll then does nothing, and waiting may go on.
  engine::TicketPtr Pending() const;

  struct Outcome {
    Status status;             // the first bucket's that failed; gradients are undefined then
    std::string extra_passes;  // the parameter that got more backward passes than announced, or ""
  };
  // The parameters of each bucket, whose number is its place; valid until Finish.
  std::vector<std::vector<size_t>> Members() const;
  // As Pending, of one bucket.
  engine::TicketPtr PendingIn(size_t number) const { return buckets_.at(number)->pending(); }
  // Puts the reduced gradients of a bucket, which was submitted and is not pending, into `.grad`;
  // Finish leaves them alone then. Hooks refuse its gradients until Finish. How it failed, if so.
  Status Deliver(size_t number);
  // Ends the step: `.grad` of every parameter holds the reduced gradient. Nothing may be pending.
  Outcome Finish();

  // Whether any gradient was counted in or submitted since the last Finish.
  bool busy() const;
  // kInvalidArgument below 1 or while busy.
  Status SetPassesPerStep(int passes);

  struct Statistics {
    size_t buckets = 0;
    size_t placed_buckets = 0;  // in memory that peers map
    int64_t bytes = 0;          // of gradients, without padding
    uint64_t copies_in = 0;     // gradients that were not where they are reduced
    std::string learned;        // what became of learning, in a few words; "" before it has ended
  };
  Statistics statistics() const;

 private:
  GradientReducer(std::shared_ptr<engine::Engine> engine, ReducerOptions options);

  // Tells the slots what the options say of them; refuses numbers that are none or come twice.
  Status Mark();
  // Gives a place to every parameter that requires a gradient and has none.
  Status LayOut();
  Status OpenBucket(const std::vector<size_t>& members);
  // Takes their place from all members of the buckets for which `is_stale` holds.
  void Retire(const std::function<bool(const GradientBucket&)>& is_stale);
  // Whether it has a place among those that are laid out by order and size.
  bool IsUngrouped(size_t index) const;
  // Takes part in what ranks learn together, with the step's first bucket. Any thread.
  void OfferLearning();
  void BeginLearningWait();
  // Whether this rank's shared memory holds what is placed in it a second time.
  bool HasRoom() const;
  // Takes the places of gradients for which what was learned has better ones; LayOut follows.
  void Rearrange(const Learned& learned);
  bool AnyMember(const GradientBucket& bucket,
                 const std::function<bool(const GradientSlot&)>& holds) const;
  [[noreturn]] void RefusePass(const GradientSlot& slot) const;

  // Shared with the module _core, whose shutdown stops it; afterwards it answers kShutDown.
  const std::shared_ptr<engine::Engine> engine_;
  const ReducerOptions options_;
  std::atomic<int> passes_per_step_;

  // By parameter; a deque, because slots neither move nor copy.
  std::deque<GradientSlot> slots_;
  std::vector<AccumulationWatch> watches_;  // by parameter
  std::vector<std::unique_ptr<GradientBucket>> buckets_;
  uint64_t buckets_opened_ = 0;  // ever: names are not used twice
  // How ungrouped gradients are laid out: parameters in order, and the sizes of buckets.
  std::vector<size_t> order_;
  BucketLimits limits_;
  bool begins_layout_ = true;  // the first bucket is still to come
  LayoutLearner learner_;
  std::string learned_;  // as Statistics::learned
  bool attached_ = false;
  // The first slot whose gradient was added to in spite of everything; its values are wrong.
  std::atomic<const GradientSlot*> spoiled_{nullptr};
};

}  // namespace rueda::pytorch
