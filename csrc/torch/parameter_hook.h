// parameter_hook: how autograd tells a GradientReducer about gradients, without Python and its
// lock.
//
// A leaf tensor has one slot for post-accumulate hooks, and Python's registration overwrites it.
// Both sides can live together when Python's dictionary of hooks exists first: our hook then takes
// its place in the slot and calls it, and Python adds to and removes from the dictionary behind us.
// So AttachHook expects the dictionary to be there (module_reducer.cc makes it).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <memory>

namespace rueda::pytorch {

// Told about one reducer's gradients. Called by autograd's threads, one at a time for each index,
// without the GIL; may throw what PyTorch turns into a Python exception of backward().
class GradientListener {
 public:
  virtual ~GradientListener() = default;
  // A gradient is about to be added to parameter `index`; nothing was written yet.
  virtual void BeforeGradient(size_t index) = 0;
  // It was; and the Python hooks of that parameter ran.
  virtual void AfterGradient(size_t index) = 0;
};

// Python's hooks of one parameter, as far as C++ may look at them without the GIL.
struct PythonHooks {
  // The word that holds the number of entries of the dictionary in the slot, or null when the slot
  // holds something else. As long-lived as the slot's content.
  const std::ptrdiff_t* count = nullptr;
};

// What is in the slot of a parameter.
enum class HookSlot { kEmpty, kPythonDictionary, kOther };
HookSlot HookSlotOf(const at::Tensor& parameter);

// Listens to `parameter`, until DetachHook or until the listener is gone. Not during a backward
// pass. The hook may fire after the listener's end, and then only calls what was there before it.
void AttachHook(const at::Tensor& parameter, const std::shared_ptr<GradientListener>& listener,
                size_t index, PythonHooks python_hooks);

// Takes that listener's hook out and puts back what was there before. Not during a backward pass
// of another thread; a Python hook of this parameter may call it.
void DetachHook(const at::Tensor& parameter, const GradientListener* listener);

// Keeps BeforeGradient coming. It is called from the node of the autograd graph that accumulates
// into the parameter, to which the parameter itself refers only weakly.
class AccumulationWatch {
 public:
  AccumulationWatch();
  ~AccumulationWatch();
  AccumulationWatch(AccumulationWatch&&) noexcept;
  AccumulationWatch& operator=(AccumulationWatch&&) noexcept;

  // Watches `parameter`, which requires a gradient, from its next forward pass on. Again after its
  // element type or device changed, for PyTorch makes a new node then; otherwise does nothing.
  void Watch(const at::Tensor& parameter, const std::shared_ptr<GradientListener>& listener,
             size_t index);

 private:
  struct Held;
  std::unique_ptr<Held> held_;
};

}  // namespace rueda::pytorch
