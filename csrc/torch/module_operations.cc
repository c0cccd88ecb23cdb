#include "torch/module_operations.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/no_gil.h"
#include "torch/call_site.h"
#include "torch/module_arguments.h"

namespace rueda::pytorch {
namespace {

OpKind OpKindFrom(int number) {
  if (number < 0 || number >= kOpKindCount) {
    throw py::value_error("there is no operation " + std::to_string(number));
  }
  return static_cast<OpKind>(number);
}

// Straight to where they are kept: every copy of a tensor on the way counts references.
Tensors TensorsOf(const py::sequence& objects) {
  const auto fast = py::reinterpret_steal<py::object>(
      PySequence_Fast(objects.ptr(), "expected a sequence of tensors"));
  if (!fast) throw py::error_already_set();
  const auto count = static_cast<size_t>(PySequence_Fast_GET_SIZE(fast.ptr()));
  PyObject** const items = PySequence_Fast_ITEMS(fast.ptr());
  Tensors tensors;
  tensors.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    tensors.push_back(TensorIn(items[i]));
  }
  return tensors;
}

py::list ListOf(const Tensors& tensors) {
  py::list list(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    PyObject* const wrapped = THPVariable_Wrap(tensors[i]);
    if (wrapped == nullptr) throw py::error_already_set();
    PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), wrapped);
  }
  return list;
}

}  // namespace

PyOperations::PyOperations(const py::capsule& engine, int64_t first_handle)
    : package_(py::module_::import("rueda").attr("__path__")[py::int_(0)].cast<std::string>()),
      operations_(std::make_unique<Operations>(EngineFrom(engine), first_handle)) {}

PyOperations::~PyOperations() {
  SharedEngine engine = operations_->engine();
  operations_.reset();
  Release(std::move(engine));
}

int64_t PyOperations::Submit(int kind, const py::sequence& tensors,
                             const std::optional<py::sequence>& outputs,
                             std::optional<std::string_view> name, int op, int root,
                             double prescale, double postscale, uint32_t process_set,
                             std::vector<int64_t> parts, bool with_splits, bool grouped,
                             bool urgent, int32_t priority) {
  OperationCall call;
  call.kind = OpKindFrom(kind);
  call.grouped = grouped;
  call.inputs = TensorsOf(tensors);
  call.in_place = outputs.has_value() && outputs->is(tensors);
  if (outputs.has_value() && !call.in_place) call.outputs = TensorsOf(*outputs);
  call.name = name;
  call.op = ReduceOpFrom(op);
  call.root = root;
  call.prescale = prescale;
  call.postscale = postscale;
  call.process_set = process_set;
  call.parts = std::move(parts);
  call.with_splits = with_splits;
  call.urgent = urgent;
  call.priority = priority;
  return Start(std::move(call));
}

int64_t PyOperations::Start(OperationCall&& call) {
  if (call.name.has_value()) call.call_site = CallerOutside(package_);
  const bool urgent = call.urgent;
  Result<int64_t> handle = operations_->Start(std::move(call));
  if (!handle.ok()) Raise(handle.status());
  // Here, because a signal may come before the caller gets to wait.
  if (urgent) Drive(operations_->handles().Find(*handle)->ticket);
  return *handle;
}

void PyOperations::Drive(engine::TicketPtr ticket) {
  const NoGil no_gil;
  operations_->engine()->Drive(ticket, kInterruptSlice);
}

bool PyOperations::Poll(int64_t handle) const {
  const StartedWork* work = operations_->handles().Find(handle);
  if (work == nullptr) {
    throw py::value_error("handle " + std::to_string(handle) +
                          " is not known: it was synchronized already, or never existed");
  }
  if (work->ticket->done()) return true;
  operations_->engine()->Hurry(*work->ticket);
  return false;
}

py::object PyOperations::Wait(int64_t handle) {
  const StartedWork* known = operations_->handles().Find(handle);
  if (known == nullptr) return py::none();
  // Another thread may take the handle while this one waits.
  if (!known->ticket->done()) {
    WaitInterruptibly(*operations_->engine(), engine::TicketPtr(known->ticket));
  }
  std::optional<StartedWork> work = operations_->handles().Take(handle);
  if (!work.has_value()) return py::none();
  const bool grouped = work->grouped;
  const bool with_splits = work->with_splits;
  const OpKind kind = work->request->kind;
  Result<Tensors> outputs = operations_->Finish(std::move(*work));
  if (!outputs.ok()) Raise(outputs.status());
  if (kind == OpKind::kJoin || kind == OpKind::kAddProcessSet)
    return py::int_(work->ticket->number());
  if (with_splits) return py::make_tuple(outputs->at(0), outputs->at(1));
  if (grouped) return ListOf(*outputs);
  return outputs->empty() ? py::none() : py::cast(outputs->front());
}

}  // namespace rueda::pytorch
