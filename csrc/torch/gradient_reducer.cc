#include "torch/gradient_reducer.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "torch/python_errors.h"

namespace rueda::pytorch {
namespace {

Status NoParameter(size_t index) {
  return {StatusCode::kInvalidArgument, "there is no parameter " + std::to_string(index)};
}

}  // namespace

Result<std::shared_ptr<GradientReducer>> GradientReducer::Make(
    std::shared_ptr<engine::Engine> engine, std::vector<NamedParameter> parameters,
    ReducerOptions options) {
  std::shared_ptr<GradientReducer> reducer(
      new GradientReducer(std::move(engine), std::move(options)));
  std::unordered_set<const at::TensorImpl*> seen;
  for (NamedParameter& parameter : parameters) {
    if (!seen.insert(parameter.tensor.unsafeGetTensorImpl()).second) continue;
    reducer->slots_.emplace_back(std::move(parameter.name), std::move(parameter.tensor),
                                 reducer->options_.compression);
    reducer->slots_.back().stays_sparse = reducer->options_.sparse_as_dense;
  }
  reducer->watches_.resize(reducer->slots_.size());
  // Backward produces gradients in about the reverse order of the forward pass.
  for (size_t i = reducer->slots_.size(); i-- > 0;) reducer->order_.push_back(i);
  RUEDA_RETURN_IF_ERROR(reducer->Mark());
  // Told by what the program says alone, so that no rank is ever alone in learning, whatever became
  // of its gradients since; ranks that disagree on their number are told so.
  if (std::any_of(reducer->slots_.begin(), reducer->slots_.end(),
                  [](const GradientSlot& slot) { return !slot.apart; })) {
    reducer->learner_.Begin(reducer->slots_.size());
  }
  RUEDA_RETURN_IF_ERROR(reducer->SetPassesPerStep(reducer->options_.passes_per_step));
  RUEDA_RETURN_IF_ERROR(reducer->LayOut());
  return reducer;
}

GradientReducer::GradientReducer(std::shared_ptr<engine::Engine> engine, ReducerOptions options)
    : engine_(std::move(engine)),
      options_(std::move(options)),
      passes_per_step_(options_.passes_per_step),
      limits_(options_.limits),
      learner_(options_.name, options_.process_set, options_.learning) {}

GradientReducer::~GradientReducer() { Detach(); }

void GradientReducer::Attach(const std::function<PythonHooks(const at::Tensor&)>& python_hooks_of) {
  attached_ = true;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const at::Tensor& parameter = slots_[i].parameter();
    AttachHook(parameter, shared_from_this(), i, python_hooks_of(parameter));
    const bool counts = slots_[i].bucket() != nullptr || slots_[i].apart;
    if (counts && parameter.requires_grad()) watches_[i].Watch(parameter, shared_from_this(), i);
  }
}

void GradientReducer::Detach() {
  if (!std::exchange(attached_, false)) return;
  for (const GradientSlot& slot : slots_) DetachHook(slot.parameter(), this);
  watches_.clear();
  watches_.resize(slots_.size());
}

void GradientReducer::BeforeGradient(size_t index) {
  const GradientSlot& slot = slots_[index];
  const bool in_flight = slot.bucket() != nullptr && slot.bucket()->submitted();
  // Peers may be writing into the gradient (I4), so it is refused before autograd adds to it.
  if (in_flight || slot.passes.load(std::memory_order_relaxed) >= passes_per_step_) {
    RefusePass(slot);
  }
}

void GradientReducer::AfterGradient(size_t index) {
  GradientSlot& slot = slots_[index];
  GradientBucket* bucket = slot.bucket();
  const int pass = slot.passes.fetch_add(1, std::memory_order_relaxed) + 1;
  if (pass > passes_per_step_ || (bucket != nullptr && bucket->submitted())) {
    // BeforeGradient was not asked: element type or device changed and PyTorch made another node.
    const GradientSlot* none = nullptr;
    spoiled_.compare_exchange_strong(none, &slot, std::memory_order_relaxed);
    RefusePass(slot);
  }
  if (pass < passes_per_step_) return;
  learner_.Note(index);
  // Without a place it waits for SubmitAll, on every rank alike: what changes a parameter's type or
  // lets it require a gradient is the program, which is the same everywhere.
  if (bucket == nullptr || !slot.Fits()) return;
  if (!options_.sparse_as_dense && slot.HasSparseGradient()) return;
  const Status taken = slot.TakeIn();
  TORCH_CHECK_VALUE(taken.ok(), "[", CodeName(taken.code()), "] ", taken.message());
  if (!bucket->CountIn()) return;
  bucket->Submit(*engine_);
  // Here already: ranks may step several optimizers in different orders once all is submitted.
  OfferLearning();
}

void GradientReducer::RefusePass(const GradientSlot& slot) const {
  const GradientBucket* bucket = slot.bucket();
  if (options_.first_needed_first && bucket != nullptr && bucket->submitted()) {
    ThrowAssertionError("parameter '" + slot.name() +
                        "': a gradient was computed before the update of the last step() was made, "
                        "that is with the parameter's old value. With overlap_forward, call the "
                        "model itself, or finish_step() before its parameters are used otherwise.");
  }
  const std::string announced = std::to_string(passes_per_step_);
  ThrowAssertionError(
      "parameter '" + slot.name() +
      "': gradients were computed more often than backward_passes_per_step=" + announced +
      " before step() or synchronize(). Increase backward_passes_per_step to sum "
      "the passes locally, or call step() after each of them.");
}

Status GradientReducer::SetApart(const std::vector<size_t>& indices) {
  for (const size_t index : indices) {
    if (index >= slots_.size()) return NoParameter(index);
    const GradientBucket* bucket = slots_[index].bucket();
    if (bucket != nullptr && bucket->submitted()) {
      return {StatusCode::kInvalidArgument,
              "the gradient of parameter '" + slots_[index].name() + "' is being reduced already"};
    }
  }
  for (const size_t index : indices) slots_[index].apart = true;
  Retire([this](const GradientBucket& bucket) {
    return AnyMember(bucket, [](const GradientSlot& slot) { return slot.apart; });
  });
  return LayOut();
}

Status GradientReducer::SubmitAll() {
  Retire([this](const GradientBucket& bucket) {
    return !bucket.submitted() &&
           AnyMember(bucket, [](const GradientSlot& slot) { return !slot.Fits(); });
  });
  RUEDA_RETURN_IF_ERROR(LayOut());
  for (const auto& bucket : buckets_) {
    if (bucket->submitted()) continue;
    for (const size_t member : bucket->members()) RUEDA_RETURN_IF_ERROR(slots_[member].TakeIn());
  }
  for (const auto& bucket : buckets_) bucket->Submit(*engine_);
  OfferLearning();
  BeginLearningWait();
  return Status::Ok();
}

engine::TicketPtr GradientReducer::Pending() const {
  for (const auto& bucket : buckets_) {
    if (engine::TicketPtr ticket = bucket->pending()) return ticket;
  }
  return learner_.pending();
}

std::vector<std::vector<size_t>> GradientReducer::Members() const {
  std::vector<std::vector<size_t>> members;
  members.reserve(buckets_.size());
  for (const auto& bucket : buckets_) members.push_back(bucket->members());
  return members;
}

Status GradientReducer::Deliver(size_t number) {
  GradientBucket& bucket = *buckets_.at(number);
  RUEDA_RETURN_IF_ERROR(bucket.outcome());
  if (bucket.TakeDelivery()) {
    for (const size_t member : bucket.members()) slots_[member].Deliver();
  }
  return Status::Ok();
}

GradientReducer::Outcome GradientReducer::Finish() {
  Outcome outcome;
  for (const auto& bucket : buckets_) {
    const Status status = bucket->outcome();
    if (outcome.status.ok()) outcome.status = status;
    const bool delivers = status.ok() && bucket->TakeDelivery();
    bucket->Reset();
    for (const size_t member : bucket->members()) {
      if (delivers) slots_[member].Deliver();
    }
  }
  for (GradientSlot& slot : slots_) slot.passes.store(0, std::memory_order_relaxed);
  if (const GradientSlot* spoiled = spoiled_.exchange(nullptr)) {
    outcome.extra_passes = spoiled->name();
  }
  // A frozen parameter would hold up its bucket in every step from now on.
  Retire([this](const GradientBucket& bucket) {
    return AnyMember(bucket, [](const GradientSlot& slot) {
      return !slot.parameter().requires_grad() || !slot.Fits() || !slot.FitsStrides();
    });
  });
  if (const auto learned = learner_.EndStep()) Rearrange(*learned);
  // What stands in the way now is said by the next SubmitAll, if it still does.
  static_cast<void>(LayOut());
  return outcome;
}

bool GradientReducer::busy() const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [](const GradientSlot& slot) {
                       return slot.passes.load(std::memory_order_relaxed) > 0;
                     }) ||
         std::any_of(buckets_.begin(), buckets_.end(),
                     [](const auto& bucket) { return bucket->submitted(); });
}

Status GradientReducer::SetPassesPerStep(int passes) {
  if (passes < 1) {
    return {StatusCode::kInvalidArgument,
            "backward_passes_per_step is " + std::to_string(passes) + "; it must be at least 1"};
  }
  if (busy()) {
    return {StatusCode::kInvalidArgument,
            "backward_passes_per_step cannot change between backward() and step() or "
            "synchronize(); call one of them first"};
  }
  passes_per_step_ = passes;
  return Status::Ok();
}

GradientReducer::Statistics GradientReducer::statistics() const {
  Statistics statistics;
  statistics.buckets = buckets_.size();
  for (const auto& bucket : buckets_) {
    statistics.placed_buckets += bucket->placed() ? 1 : 0;
    statistics.bytes += bucket->payload_bytes();
  }
  statistics.learned = learned_;
  for (const GradientSlot& slot : slots_) statistics.copies_in += slot.copies_in();
  return statistics;
}

Status GradientReducer::Mark() {
  for (size_t group = 0; group < options_.groups.size(); ++group) {
    for (const size_t index : options_.groups[group]) {
      if (index >= slots_.size()) return NoParameter(index);
      if (slots_[index].group != GradientSlot::kNoGroup) {
        return {StatusCode::kInvalidArgument,
                "parameter '" + slots_[index].name() + "' is in two groups"};
      }
      slots_[index].group = group;
    }
  }
  for (const size_t index : options_.apart) {
    if (index >= slots_.size()) return NoParameter(index);
    slots_[index].apart = true;
  }
  return Status::Ok();
}

Status GradientReducer::LayOut() {
  std::vector<LayoutItem> items;
  std::vector<std::vector<size_t>> groups(options_.groups.size());
  for (const size_t i : order_) {
    const GradientSlot& slot = slots_[i];
    if (slot.bucket() != nullptr || slot.apart || !slot.parameter().requires_grad()) continue;
    RUEDA_RETURN_IF_ERROR(slot.CheckParameter());
    if (slot.group != GradientSlot::kNoGroup) {
      groups[slot.group].push_back(i);
      continue;
    }
    const control::TensorSpec spec = slot.Spec();
    items.push_back({i, spec.dtype, static_cast<int64_t>(spec.bytes())});
  }
  BucketLimits limits = limits_;
  if (!begins_layout_) limits.first_bytes = limits.bytes;
  for (const std::vector<size_t>& members : CutBuckets(items, limits)) {
    RUEDA_RETURN_IF_ERROR(OpenBucket(members));
  }
  for (const std::vector<size_t>& members : groups) {
    if (!members.empty()) RUEDA_RETURN_IF_ERROR(OpenBucket(members));
  }
  return Status::Ok();
}

Status GradientReducer::OpenBucket(const std::vector<size_t>& members) {
  control::Request request;
  request.kind = OpKind::kAllreduce;
  request.op = options_.op;
  request.prescale = options_.prescale;
  request.postscale = options_.postscale;
  request.process_set = options_.process_set;
  if (options_.first_needed_first) {
    request.priority = -static_cast<int32_t>(*std::min_element(members.begin(), members.end()));
  }
  request.name = options_.name + "." + std::to_string(buckets_opened_);
  for (const size_t member : members) request.tensors.push_back(slots_[member].Spec());
  Result<std::unique_ptr<GradientBucket>> bucket =
      GradientBucket::Make(std::move(request), members, *engine_);
  if (!bucket.ok()) return bucket.status();
  ++buckets_opened_;
  begins_layout_ = false;
  for (size_t i = 0; i < members.size(); ++i) {
    slots_[members[i]].Enter(bucket->get(), i);
    if (attached_) {
      watches_[members[i]].Watch(slots_[members[i]].parameter(), shared_from_this(), members[i]);
    }
  }
  buckets_.push_back(std::move(bucket).value());
  return Status::Ok();
}

void GradientReducer::Retire(const std::function<bool(const GradientBucket&)>& is_stale) {
  const auto retired = std::remove_if(buckets_.begin(), buckets_.end(), [&](const auto& bucket) {
    if (!is_stale(*bucket)) return false;
    for (const size_t member : bucket->members()) slots_[member].Leave();
    return true;
  });
  buckets_.erase(retired, buckets_.end());
}

bool GradientReducer::AnyMember(const GradientBucket& bucket,
                                const std::function<bool(const GradientSlot&)>& holds) const {
  return std::any_of(bucket.members().begin(), bucket.members().end(),
                     [&](size_t member) { return holds(slots_[member]); });
}

}  // namespace rueda::pytorch
