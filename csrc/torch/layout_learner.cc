#include "torch/layout_learner.h"

#include <algorithm>
#include <utility>

namespace rueda::pytorch {
namespace {

// The first step touches memory for the first time.
constexpr int kStepsNotCounted = 1;
constexpr int kSamples = 3;

// What is offered: these, then three numbers a rank (WaitedBuckets), then one a parameter.
enum Number : size_t { kReady, kHasRoom, kKeepsLimits, kSeen, kNumbers };
constexpr size_t kNumbersOfRank = 3;

int64_t Count(TimePoint when) { return when.time_since_epoch().count(); }
double Seconds(int64_t nanoseconds) { return static_cast<double>(nanoseconds) * 1e-9; }
TimePoint Now() { return SteadyClock().Now(); }

control::SharedRequest MakeRequest(const std::string& reducer, uint32_t process_set,
                                   size_t numbers) {
  auto request = std::make_shared<control::Request>();
  request->kind = OpKind::kAllreduce;
  request->op = ReduceOp::kSum;
  request->process_set = process_set;
  request->name = reducer + ".learning";
  request->tensors = {{request->name, DType::kFloat64, {static_cast<int64_t>(numbers)}}};
  return request;
}

}  // namespace

LayoutLearner::LayoutLearner(std::string reducer, uint32_t process_set, LearningOptions options)
    : name_(std::move(reducer)), process_set_(process_set), options_(options) {}

void LayoutLearner::Begin(size_t parameters) {
  active_ = options_.size > 1;
  if (!active_) return;
  parameters_ = parameters;
  arrivals_ = std::vector<std::atomic<int64_t>>(parameters);
  seen_.assign(kNumbers + kNumbersOfRank * static_cast<size_t>(options_.size) + parameters, 0);
  request_ = MakeRequest(name_, process_set_, seen_.size());
}

bool LayoutLearner::ready() const { return active_ && steps_ >= kStepsNotCounted + kSamples; }

void LayoutLearner::Note(size_t parameter) {
  if (active_) arrivals_[parameter].store(Count(Now()), std::memory_order_relaxed);
}

double* LayoutLearner::Waited() {
  return &seen_[kNumbers + kNumbersOfRank * static_cast<size_t>(options_.rank)];
}

void LayoutLearner::Offer(engine::Engine& engine, bool has_room) {
  seen_[kReady] = ready() ? 1 : 0;
  seen_[kHasRoom] = has_room ? 1 : 0;
  seen_[kKeepsLimits] = options_.keeps_limits ? 1 : 0;
  offered_ = std::make_shared<std::vector<double>>(seen_);
  const TensorView view{offered_->data(), static_cast<int64_t>(offered_->size()), DType::kFloat64};
  Result<engine::TicketPtr> ticket =
      engine.Submit({request_, {{view}, {view}}, offered_, /*urgent=*/true});
  // An engine that refuses has refused the buckets, too.
  if (ticket.ok()) ticket_ = *ticket;
}

void LayoutLearner::BeginWait(TimePoint since, WaitedBuckets waited) {
  if (all_submitted_ != 0) return;  // an interrupted step goes on
  all_submitted_ = Count(Now());
  waited_since_ = since;
  waited_ = waited;
}

engine::TicketPtr LayoutLearner::pending() const {
  return ticket_ == nullptr || ticket_->done() ? nullptr : ticket_;
}

std::unique_ptr<const Learned> LayoutLearner::EndStep() {
  if (!active_) return nullptr;
  if (offered_ != nullptr) CountStep();
  for (std::atomic<int64_t>& arrival : arrivals_) arrival.store(0, std::memory_order_relaxed);
  waited_ = {};
  all_submitted_ = 0;
  offer_begun_.store(false, std::memory_order_relaxed);
  const auto offered = std::exchange(offered_, nullptr);
  const engine::TicketPtr ticket = std::exchange(ticket_, nullptr);
  if (ticket == nullptr) return nullptr;
  // After an error it goes on: a rank that has joined does not hear of it, and must not be alone.
  if (!ticket->status().ok() || (*offered)[kReady] < options_.size) return nullptr;
  active_ = false;
  return Conclude(*offered);
}

void LayoutLearner::CountStep() {
  if (steps_ >= kStepsNotCounted && !ready()) {
    EndWait();
    TakeSample();
  }
  ++steps_;
}

void LayoutLearner::EndWait() {
  if (waited_.buckets == 0) return;
  double* const sums = Waited();
  sums[0] += Seconds(Count(Now()) - Count(waited_since_));
  sums[1] += waited_.bytes;
  sums[2] += waited_.buckets;
}

void LayoutLearner::TakeSample() {
  int64_t first = 0;
  for (const std::atomic<int64_t>& arrival : arrivals_) {
    const int64_t when = arrival.load(std::memory_order_relaxed);
    if (when != 0 && (first == 0 || when < first)) first = when;
  }
  if (first == 0) return;  // no backward pass
  seen_[kSeen] += 1;
  double* const sums = &seen_[seen_.size() - parameters_];
  for (size_t i = 0; i < parameters_; ++i) {
    const int64_t when = arrivals_[i].load(std::memory_order_relaxed);
    // What has no gradient is submitted at the end.
    sums[i] += Seconds((when == 0 ? all_submitted_ : when) - first);
  }
}

std::unique_ptr<const Learned> LayoutLearner::Conclude(const std::vector<double>& sums) const {
  auto learned = std::make_unique<Learned>();
  learned->has_room = sums[kHasRoom] == options_.size;
  learned->keeps_limits = sums[kKeepsLimits] > 0;
  std::vector<WaitedBuckets> waited;
  for (size_t at = kNumbers; at < sums.size() - parameters_; at += kNumbersOfRank) {
    waited.push_back({sums[at], sums[at + 1], sums[at + 2]});
  }
  learned->cost = FitCost(waited);
  if (sums[kSeen] == 0) return learned;
  for (size_t at = sums.size() - parameters_; at < sums.size(); ++at) {
    learned->arrivals.push_back(sums[at] / sums[kSeen]);
  }
  return learned;
}

}  // namespace rueda::pytorch
