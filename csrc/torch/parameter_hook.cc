#include "torch/parameter_hook.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <cstring>
#include <typeinfo>
#include <utility>

namespace rueda::pytorch {
namespace {

using ::torch::autograd::FunctionPreHook;
using ::torch::autograd::Node;
using ::torch::autograd::PostAccumulateGradHook;
using ::torch::autograd::variable_list;
namespace impl = ::torch::autograd::impl;

[[noreturn]] void RefuseCompiledAutograd() {
  TORCH_CHECK_NOT_IMPLEMENTED(false,
                              "rueda's gradient hooks do not run under compiled autograd; leave "
                              "torch._dynamo.config.compiled_autograd off");
}

class ParameterHook final : public PostAccumulateGradHook {
 public:
  ParameterHook(const std::shared_ptr<GradientListener>& listener, size_t index,
                std::unique_ptr<PostAccumulateGradHook> previous, PythonHooks python_hooks)
      : listener_(listener),
        identity_(listener.get()),
        index_(index),
        previous_(std::move(previous)),
        python_hooks_(python_hooks) {}

  void operator()(const at::Tensor& parameter) override {
    if (!HasPrevious()) {
      if (const auto listener = listener_.lock()) listener->AfterGradient(index_);
      return;
    }
    // Python hooks first: what they do to the gradient is to be reduced. One of them may detach us,
    // which destroys this object, so nothing of it is used after the call. `previous_` itself then
    // lives on in the slot.
    const std::weak_ptr<GradientListener> kept = listener_;
    const size_t index = index_;
    (*previous_)(parameter);
    if (const auto listener = kept.lock()) listener->AfterGradient(index);
  }

  void compiled_args(::torch::dynamo::autograd::CompiledNodeArgs&) const override {
    RefuseCompiledAutograd();
  }

  bool ListensFor(const GradientListener* listener) const { return identity_ == listener; }
  std::unique_ptr<PostAccumulateGradHook>& previous() { return previous_; }

 private:
  bool HasPrevious() const {
    if (previous_ == nullptr) return false;
    if (python_hooks_.count == nullptr) return true;
    // Calling an empty dictionary would take the GIL for every gradient. A word is read whole, and
    // a hook that is registered while a backward pass runs may miss that pass anyway.
    return __atomic_load_n(python_hooks_.count, __ATOMIC_RELAXED) != 0;
  }

  const std::weak_ptr<GradientListener> listener_;
  const GradientListener* const identity_;  // compared, never used: it may be gone
  const size_t index_;
  std::unique_ptr<PostAccumulateGradHook> previous_;
  const PythonHooks python_hooks_;
};

// Runs before a gradient is accumulated, which the hook above cannot.
class AccumulationGuard final : public FunctionPreHook {
 public:
  AccumulationGuard(const std::shared_ptr<GradientListener>& listener, size_t index)
      : listener_(listener), index_(index) {}

  variable_list operator()(const variable_list& gradients) override {
    if (const auto listener = listener_.lock()) listener->BeforeGradient(index_);
    return gradients;
  }

  void compiled_args(::torch::dynamo::autograd::CompiledNodeArgs&) const override {
    RefuseCompiledAutograd();
  }

 private:
  const std::weak_ptr<GradientListener> listener_;
  const size_t index_;
};

}  // namespace

HookSlot HookSlotOf(const at::Tensor& parameter) {
  if (impl::get_autograd_meta(parameter) == nullptr) return HookSlot::kEmpty;
  const PostAccumulateGradHook* hook = impl::post_acc_grad_hooks(parameter).get();
  if (hook == nullptr) return HookSlot::kEmpty;
  // PyTorch does not export the class, so it is known by its name only.
  const bool python =
      std::strstr(typeid(*hook).name(), "PyFunctionTensorPostAccGradHooks") != nullptr;
  return python ? HookSlot::kPythonDictionary : HookSlot::kOther;
}

void AttachHook(const at::Tensor& parameter, const std::shared_ptr<GradientListener>& listener,
                size_t index, PythonHooks python_hooks) {
  std::unique_ptr<PostAccumulateGradHook> previous;
  if (impl::get_autograd_meta(parameter) != nullptr) {
    previous = std::move(impl::post_acc_grad_hooks(parameter));
  }
  impl::set_post_acc_grad_hooks(parameter, std::make_unique<ParameterHook>(
                                               listener, index, std::move(previous), python_hooks));
}

void DetachHook(const at::Tensor& parameter, const GradientListener* listener) {
  if (impl::get_autograd_meta(parameter) == nullptr) return;
  // Several reducers' hooks may sit on each other.
  std::unique_ptr<PostAccumulateGradHook>* link = &impl::post_acc_grad_hooks(parameter);
  while (auto* hook = dynamic_cast<ParameterHook*>(link->get())) {
    if (hook->ListensFor(listener)) {
      std::unique_ptr<PostAccumulateGradHook> previous = std::move(hook->previous());
      *link = std::move(previous);
      return;
    }
    link = &hook->previous();
  }
}

struct AccumulationWatch::Held {
  c10::intrusive_ptr<Node> node;
};

AccumulationWatch::AccumulationWatch() = default;
AccumulationWatch::~AccumulationWatch() = default;
AccumulationWatch::AccumulationWatch(AccumulationWatch&&) noexcept = default;
AccumulationWatch& AccumulationWatch::operator=(AccumulationWatch&&) noexcept = default;

void AccumulationWatch::Watch(const at::Tensor& parameter,
                              const std::shared_ptr<GradientListener>& listener, size_t index) {
  c10::intrusive_ptr<Node> node = impl::grad_accumulator(parameter);
  if (held_ != nullptr && held_->node == node) return;
  node->add_pre_hook(std::make_unique<AccumulationGuard>(listener, index));
  held_ = std::make_unique<Held>(Held{std::move(node)});
}

}  // namespace rueda::pytorch
