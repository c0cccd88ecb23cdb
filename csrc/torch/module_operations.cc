// Operations of the Python module rueda._torch: collectives on tensors, and their handles.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/no_gil.h"
#include "control/process_sets.h"
#include "torch/call_site.h"
#include "torch/module_fast_methods.h"
#include "torch/module_parts.h"
#include "torch/operations.h"

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

class PyOperations {
 public:
  PyOperations(const py::capsule& engine, int64_t first_handle)
      : operations_(std::make_unique<Operations>(EngineFrom(engine), first_handle)) {}

  ~PyOperations() {
    SharedEngine engine = operations_->engine();
    operations_.reset();
    Release(std::move(engine));
  }

  int64_t Submit(int kind, const py::sequence& tensors, const std::optional<py::sequence>& outputs,
                 std::optional<std::string_view> name, int op, int root, double prescale,
                 double postscale, uint32_t process_set, std::vector<int64_t> parts,
                 bool with_splits, bool grouped, bool urgent, int32_t priority) {
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

  bool Poll(int64_t handle) const {
    const StartedWork* work = operations_->handles().Find(handle);
    if (work == nullptr) {
      throw py::value_error("handle " + std::to_string(handle) +
                            " is not known: it was synchronized already, or never existed");
    }
    if (work->ticket->done()) return true;
    operations_->engine()->Hurry(*work->ticket);
    return false;
  }

  int64_t Start(OperationCall&& call) {
    if (call.name.has_value()) call.call_site = CallerOutside(package_);
    const bool urgent = call.urgent;
    Result<int64_t> handle = operations_->Start(std::move(call));
    if (!handle.ok()) Raise(handle.status());
    // Here, because a signal may come before the caller gets to wait.
    if (urgent) Drive(operations_->handles().Find(*handle)->ticket);
    return *handle;
  }

  py::object Wait(int64_t handle) {
    const StartedWork* known = operations_->handles().Find(handle);
    if (known == nullptr) return py::none();
    // Another thread may take the handle while this one waits.
    const engine::TicketPtr ticket = known->ticket;
    WaitInterruptibly(*operations_->engine(), ticket);
    std::optional<StartedWork> work = operations_->handles().Take(handle);
    if (!work.has_value()) return py::none();
    const bool grouped = work->grouped;
    const bool with_splits = work->with_splits;
    const OpKind kind = work->request->kind;
    Result<Tensors> outputs = operations_->Finish(std::move(*work));
    if (!outputs.ok()) Raise(outputs.status());
    if (kind == OpKind::kJoin || kind == OpKind::kAddProcessSet) return py::int_(ticket->number());
    if (with_splits) return py::make_tuple(outputs->at(0), outputs->at(1));
    if (grouped) return ListOf(*outputs);
    return outputs->empty() ? py::none() : py::cast(outputs->front());
  }

  // For calls that are made of several operations.
  std::string NextCall(const std::string& operation, uint32_t process_set) {
    return operations_->call_counts().Take(process_set, operation);
  }
  uint64_t Joins(uint32_t set) const { return operations_->call_counts().joins(set); }

  void DropFinished() { operations_->handles().DropFinished(); }
  int64_t next_handle() const { return operations_->handles().next_handle(); }
  size_t size() const { return operations_->handles().size(); }

 private:
  void Drive(engine::TicketPtr ticket) {
    const NoGil no_gil;
    operations_->engine()->Drive(ticket, kInterruptSlice);
  }

  const std::string package_ =
      py::module_::import("rueda").attr("__path__")[py::int_(0)].cast<std::string>();
  std::unique_ptr<Operations> operations_;
};

// tensor, output, name, op, and perhaps prescale, postscale, process_set.
OperationCall CallIn(Arguments arguments) {
  OperationCall call;
  call.inputs.push_back(TensorIn(arguments[0]));
  call.in_place = arguments[1] == arguments[0];
  if (!call.in_place && arguments[1] != Py_None) call.outputs.push_back(TensorIn(arguments[1]));
  call.name = NameIn(arguments[2]);
  call.op = ReduceOpFrom(IntegerIn<int>(arguments[3]));
  if (arguments.size() > 4) call.prescale = FloatIn(arguments[4]);
  if (arguments.size() > 5) call.postscale = FloatIn(arguments[5]);
  if (arguments.size() > 6) call.process_set = IntegerIn<uint32_t>(arguments[6]);
  return call;
}

py::object Allreduce(PyOperations& operations, Arguments arguments) {
  OperationCall call = CallIn(arguments);
  if (arguments.size() > 7) call.priority = IntegerIn<int32_t>(arguments[7]);
  return py::int_(operations.Start(std::move(call)));
}

// A synchronous call, in one crossing.
py::object AllreduceNow(PyOperations& operations, Arguments arguments) {
  OperationCall call = CallIn(arguments);
  call.urgent = true;
  return operations.Wait(operations.Start(std::move(call)));
}

py::object Wait(PyOperations& operations, Arguments arguments) {
  return operations.Wait(IntegerIn<int64_t>(arguments[0]));
}

}  // namespace

void BindOperations(py::module_& module) {
  py::class_<PyOperations> type(module, "Operations");
  type.def(py::init<const py::capsule&, int64_t>(), py::arg("engine"), py::arg("first_handle") = 0)
      .def("submit", &PyOperations::Submit, py::arg("kind"), py::arg("tensors"), py::arg("outputs"),
           py::arg("name"), py::kw_only(), py::arg("op") = static_cast<int>(ReduceOp::kSum),
           py::arg("root") = -1, py::arg("prescale") = 1.0, py::arg("postscale") = 1.0,
           py::arg("process_set") = 0, py::arg("parts") = std::vector<int64_t>{},
           py::arg("with_splits") = false, py::arg("grouped") = false, py::arg("urgent") = false,
           py::arg("priority") = 0)
      .def("poll", &PyOperations::Poll, py::arg("handle"))
      .def("next_call", &PyOperations::NextCall, py::arg("operation"), py::arg("process_set"))
      .def("joins", &PyOperations::Joins, py::arg("process_set"))
      .def("drop_finished", &PyOperations::DropFinished)
      .def_property_readonly("next_handle", &PyOperations::next_handle)
      .def("__len__", &PyOperations::size);
  AddFastMethod<PyOperations, Allreduce, 4, 8>(type, "allreduce");
  AddFastMethod<PyOperations, AllreduceNow, 4, 7>(type, "allreduce_now");
  AddFastMethod<PyOperations, Wait, 1, 1>(type, "wait");
  module.attr("ALLREDUCE") = static_cast<int>(OpKind::kAllreduce);
  module.attr("ALLGATHER") = static_cast<int>(OpKind::kAllgather);
  module.attr("BROADCAST") = static_cast<int>(OpKind::kBroadcast);
  module.attr("BARRIER") = static_cast<int>(OpKind::kBarrier);
  module.attr("REDUCESCATTER") = static_cast<int>(OpKind::kReducescatter);
  module.attr("ALLTOALL") = static_cast<int>(OpKind::kAlltoall);
  module.attr("REDUCE") = static_cast<int>(OpKind::kReduce);
  module.attr("GATHER") = static_cast<int>(OpKind::kGather);
  module.attr("SCATTER") = static_cast<int>(OpKind::kScatter);
  module.attr("JOIN") = static_cast<int>(OpKind::kJoin);
  module.attr("ADD_PROCESS_SET") = static_cast<int>(OpKind::kAddProcessSet);
  module.attr("REMOVE_PROCESS_SET") = static_cast<int>(OpKind::kRemoveProcessSet);
  module.def("pair_of", &control::PairOf, py::arg("a"), py::arg("b"));
}

}  // namespace rueda::pytorch
