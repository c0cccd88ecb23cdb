// The Python module rueda._torch: tensors, gradients and exceptions between Python and rueda.
//
// Its files, module*, are the only ones of this folder that see pybind11, which is the copy that
// PyTorch bundles. Engines come from rueda._core as capsules, because types of two pybind11 modules
// do not meet.
#include <torch/csrc/Exceptions.h>
#include <torch/headeronly/version.h>

#include <string>
#include <utility>

#include "bindings/no_gil.h"
#include "torch/module_parts.h"
#include "torch/python_errors.h"

namespace rueda::pytorch {
namespace {

constexpr const char* kEngineCapsule = "rueda.engine";

// Raised where autograd calls us without the GIL; PyTorch asks for the type once it has it.
class AssertionFailure final : public ::torch::PyTorchError {
 public:
  explicit AssertionFailure(const std::string& message) : PyTorchError(message) {}
  PyObject* python_type() override { return PyExc_AssertionError; }
};

}  // namespace

void Raise(const Status& status) {
  const std::string code = CodeName(status.code());
  const std::string message = "[" + code + "] " + status.message();
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kDuplicateName:
    case StatusCode::kUnsupported:
      throw py::value_error(message);
    default:
      break;
  }
  const py::object type = py::module_::import("rueda.exceptions").attr("HorovodInternalError");
  const int blamed = status.blamed_rank();
  const py::object rank = blamed >= 0 ? py::object(py::int_(blamed)) : py::object(py::none());
  const py::object error = type(message, code, rank);
  PyErr_SetObject(type.ptr(), error.ptr());
  throw py::error_already_set();
}

void RaiseUnlessOk(const Status& status) {
  if (!status.ok()) Raise(status);
}

void WaitInterruptibly(engine::Engine& engine, const engine::TicketPtr& ticket) {
  if (ticket == nullptr || ticket->done()) return;
  // The engine hears once that somebody waits; after that it sleeps while this thread looks around.
  auto wake = WithoutGil([&] { return engine.Wait(ticket, kInterruptSlice); });
  while (wake == engine::Ticket::Wake::kInterrupted) {
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    wake = WithoutGil([&] { return ticket->Wait(kInterruptSlice); });
  }
}

SharedEngine EngineFrom(const py::capsule& capsule) {
  const std::string name = capsule.name() == nullptr ? "" : capsule.name();
  if (name != kEngineCapsule) {
    throw py::value_error("expected the capsule '" + std::string(kEngineCapsule) +
                          "' of rueda._core, not '" + name + "'");
  }
  return *capsule.get_pointer<SharedEngine>();
}

void Release(SharedEngine engine) {
  const NoGil no_gil;
  engine.reset();
}

ReduceOp ReduceOpFrom(int number) {
  const auto op = static_cast<ReduceOp>(number);
  if (number < 0 || number > 255 || !IsValid(op)) {
    throw py::value_error("reduce op " + std::to_string(number) +
                          " is not supported; rueda has Average, Sum, Min, Max and Product");
  }
  return op;
}

void ThrowAssertionError(const std::string& message) { throw AssertionFailure(message); }

}  // namespace rueda::pytorch

PYBIND11_MODULE(_torch, module) {
  module.doc() = "Tensors and gradients between PyTorch and rueda's engine.";
  module.attr("torch_version") = TORCH_VERSION;
  rueda::pytorch::BindOperations(module);
  rueda::pytorch::BindDirectCalls(module);
  rueda::pytorch::BindReducer(module);
}
