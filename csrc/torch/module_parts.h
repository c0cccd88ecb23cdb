// What the files of the Python module rueda._torch share. Only module*.cc include it: it brings
// pybind11, the copy that PyTorch bundles.
#pragma once

#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>

#include <memory>

#include "core/status.h"
#include "core/types.h"
#include "engine/engine.h"
#include "engine/ticket.h"

namespace py = pybind11;

namespace rueda::pytorch {

using SharedEngine = std::shared_ptr<engine::Engine>;

// How long a waiting thread goes without looking for Ctrl-C, when the signal went to another
// thread.
inline constexpr Duration kInterruptSlice = std::chrono::milliseconds(100);

// As a ValueError for the caller's mistakes, a HorovodInternalError for the job's (docs/errors.md).
[[noreturn]] void Raise(const Status& status);
void RaiseUnlessOk(const Status& status);

// Returns when the ticket is done, or raises KeyboardInterrupt and the like; the ticket lives on
// then, with whoever owns its tensors. Null is done.
void WaitInterruptibly(engine::Engine& engine, const engine::TicketPtr& ticket);

SharedEngine EngineFrom(const py::capsule& capsule);
// Lets go without the GIL: the last reference to an engine joins its thread.
void Release(SharedEngine engine);

ReduceOp ReduceOpFrom(int number);

void BindOperations(py::module_& module);
void BindDirectCalls(py::module_& module);
void BindReducer(py::module_& module);

}  // namespace rueda::pytorch
