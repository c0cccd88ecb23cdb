// The Python module rueda._torch: tensors, gradients and exceptions between Python and rueda.
//
// The one file of this folder that sees pybind11, which is the copy that PyTorch bundles. Engines
// come from rueda._core as capsules, because types of two pybind11 modules do not meet.
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/headeronly/version.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/process_sets.h"
#include "engine/engine.h"
#include "torch/call_site.h"
#include "torch/gradient_reducer.h"
#include "torch/operations.h"
#include "torch/python_errors.h"

namespace py = pybind11;

namespace rueda::pytorch {
namespace {

// How long a waiting thread goes without looking for Ctrl-C, when the signal went to another
// thread.
constexpr Duration kInterruptSlice = std::chrono::milliseconds(100);

using SharedEngine = std::shared_ptr<engine::Engine>;
constexpr const char* kEngineCapsule = "rueda.engine";

// Raised where autograd calls us without the GIL; PyTorch asks for the type once it has it.
class AssertionFailure final : public ::torch::PyTorchError {
 public:
  explicit AssertionFailure(const std::string& message) : PyTorchError(message) {}
  PyObject* python_type() override { return PyExc_AssertionError; }
};

[[noreturn]] void Raise(const Status& status) {
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

// Runs `work` without the GIL. Not with pybind11's guard: when the interpreter is exiting, taking
// the GIL back ends a daemon thread by unwinding its stack, which must not start in a destructor.
template <typename Work>
auto WithoutGil(Work work) {
  PyThreadState* const state = PyEval_SaveThread();
  try {
    auto result = work();
    PyEval_RestoreThread(state);
    return result;
  } catch (const std::exception&) {
    PyEval_RestoreThread(state);
    throw;
  }
}

// Returns when the ticket is done, or raises KeyboardInterrupt and the like; the ticket lives on
// then, with whoever owns its tensors.
void WaitInterruptibly(engine::Engine& engine, const engine::TicketPtr& ticket) {
  if (ticket->done()) return;
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

// Lets go without the GIL: the last reference to an engine joins its thread.
void Release(SharedEngine engine) {
  WithoutGil([&] {
    engine.reset();
    return true;
  });
}

ReduceOp ReduceOpFrom(int number) {
  const auto op = static_cast<ReduceOp>(number);
  if (number < 0 || number > 255 || !IsValid(op)) {
    throw py::value_error("reduce op " + std::to_string(number) +
                          " is not supported; rueda has Average, Sum, Min, Max and Product");
  }
  return op;
}

OpKind OpKindFrom(int number) {
  if (number < 0 || number >= kOpKindCount) {
    throw py::value_error("there is no operation " + std::to_string(number));
  }
  return static_cast<OpKind>(number);
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

  // One tensor, the common case, without lists and most arguments.
  int64_t Allreduce(const at::Tensor& tensor, const std::optional<at::Tensor>& output,
                    std::optional<std::string> name, int op, double prescale, double postscale,
                    uint32_t process_set, bool urgent) {
    OperationCall call;
    call.inputs.push_back(tensor);
    if (output.has_value()) call.outputs.push_back(*output);
    call.name = std::move(name);
    call.op = ReduceOpFrom(op);
    call.prescale = prescale;
    call.postscale = postscale;
    call.process_set = process_set;
    call.urgent = urgent;
    return Start(std::move(call));
  }

  int64_t Submit(int kind, const std::vector<at::Tensor>& tensors,
                 const std::optional<std::vector<at::Tensor>>& outputs,
                 std::optional<std::string> name, int op, int root, double prescale,
                 double postscale, uint32_t process_set, std::vector<int64_t> parts,
                 bool with_splits, bool grouped, bool urgent) {
    OperationCall call;
    call.kind = OpKindFrom(kind);
    call.grouped = grouped;
    call.inputs.assign(tensors.begin(), tensors.end());
    if (outputs.has_value()) call.outputs.assign(outputs->begin(), outputs->end());
    call.name = std::move(name);
    call.op = ReduceOpFrom(op);
    call.root = root;
    call.prescale = prescale;
    call.postscale = postscale;
    call.process_set = process_set;
    call.parts = std::move(parts);
    call.with_splits = with_splits;
    call.urgent = urgent;
    return Start(std::move(call));
  }

  bool Poll(int64_t handle) const {
    const StartedWork* work = operations_->handles().Find(handle);
    if (work == nullptr) {
      throw py::value_error("handle " + std::to_string(handle) +
                            " is not known: it was synchronized already, or never existed");
    }
    return work->ticket->done();
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
    if (grouped) return py::cast(std::vector<at::Tensor>(outputs->begin(), outputs->end()));
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
  int64_t Start(OperationCall call) {
    if (call.name.has_value()) call.call_site = CallerOutside(package_);
    const bool urgent = call.urgent;
    Result<int64_t> handle = operations_->Start(std::move(call));
    if (!handle.ok()) Raise(handle.status());
    // Here, because a signal may come before the caller gets to wait.
    if (urgent) Drive(operations_->handles().Find(*handle)->ticket);
    return *handle;
  }

  void Drive(engine::TicketPtr ticket) {
    WithoutGil([&] {
      operations_->engine()->Drive(ticket, kInterruptSlice);
      return true;
    });
  }

  const std::string package_ =
      py::module_::import("rueda").attr("__path__")[py::int_(0)].cast<std::string>();
  std::unique_ptr<Operations> operations_;
};

// See parameter_hook.h: Python's dictionary of hooks has to be there before ours.
PythonHooks EnsureHookDictionary(const at::Tensor& parameter) {
  const py::object object = py::cast(parameter);
  if (HookSlotOf(parameter) == HookSlot::kEmpty) {
    object.attr("_post_accumulate_grad_hooks") =
        py::module_::import("collections").attr("OrderedDict")();
  }
  if (HookSlotOf(parameter) != HookSlot::kPythonDictionary) return {};
  const py::object hooks = object.attr("_post_accumulate_grad_hooks");
  if (!PyDict_Check(hooks.ptr())) return {};
  // The hook in the slot owns the dictionary, so the word lives as long as the hook.
  return {&reinterpret_cast<PyDictObject*>(hooks.ptr())->ma_used};
}

Compression CompressionFrom(const std::string& name) {
  if (name == "none") return Compression::kNone;
  if (name == "fp16") return Compression::kFloat16;
  if (name == "bf16") return Compression::kBFloat16;
  throw py::value_error("compression '" + name + "' is not known; there are none, fp16 and bf16");
}

class PyReducer {
 public:
  PyReducer(const py::capsule& engine, std::vector<at::Tensor> parameters,
            std::vector<std::string> names, std::string name, int op, double prescale,
            double postscale, const std::string& compression, int passes_per_step,
            int64_t bucket_bytes, int64_t first_bucket_bytes, uint32_t process_set,
            std::vector<std::vector<size_t>> groups, bool sparse_as_dense,
            std::vector<size_t> apart)
      : engine_(EngineFrom(engine)) {
    if (names.size() != parameters.size()) {
      throw py::value_error(std::to_string(parameters.size()) + " parameters have " +
                            std::to_string(names.size()) + " names");
    }
    std::vector<NamedParameter> named;
    for (size_t i = 0; i < names.size(); ++i) {
      named.push_back({std::move(names[i]), std::move(parameters[i])});
    }
    ReducerOptions options;
    options.name = std::move(name);
    options.op = ReduceOpFrom(op);
    options.prescale = prescale;
    options.postscale = postscale;
    options.process_set = process_set;
    options.compression = CompressionFrom(compression);
    options.passes_per_step = passes_per_step;
    options.limits = {first_bucket_bytes, bucket_bytes};
    options.groups = std::move(groups);
    options.sparse_as_dense = sparse_as_dense;
    options.apart = std::move(apart);
    auto reducer = GradientReducer::Make(engine_, std::move(named), std::move(options));
    if (!reducer.ok()) Raise(reducer.status());
    reducer_ = *reducer;
    reducer_->Attach(EnsureHookDictionary);
  }

  ~PyReducer() {
    // Here, and not when the last hook that runs lets go of the reducer.
    if (reducer_ != nullptr) reducer_->Detach();
    reducer_.reset();
    Release(std::move(engine_));
  }

  void Synchronize() {
    RaiseUnlessOk(WithoutGil([&] { return reducer_->SubmitAll(); }));
    while (const engine::TicketPtr ticket = reducer_->Pending()) {
      WaitInterruptibly(*engine_, ticket);
    }
    const auto outcome = WithoutGil([&] { return reducer_->Finish(); });
    RaiseUnlessOk(outcome.status);
    if (outcome.extra_passes.empty()) return;
    const std::string message =
        "parameter '" + outcome.extra_passes +
        "': more backward passes than backward_passes_per_step went into its gradient before "
        "step() or synchronize(), so this step's gradients are wrong";
    PyErr_SetString(PyExc_AssertionError, message.c_str());
    throw py::error_already_set();
  }

  bool Pending() const { return reducer_->busy(); }
  void Remove() { reducer_->Detach(); }
  void SetApart(const std::vector<size_t>& indices) { RaiseUnlessOk(reducer_->SetApart(indices)); }
  void SetPasses(int passes) { RaiseUnlessOk(reducer_->SetPassesPerStep(passes)); }
  GradientReducer::Statistics statistics() const { return reducer_->statistics(); }

 private:
  SharedEngine engine_;
  std::shared_ptr<GradientReducer> reducer_;
};

void BindOperations(py::module_& module) {
  py::class_<PyOperations>(module, "Operations")
      .def(py::init<const py::capsule&, int64_t>(), py::arg("engine"), py::arg("first_handle") = 0)
      .def("allreduce", &PyOperations::Allreduce, py::arg("tensor"), py::arg("output"),
           py::arg("name"), py::arg("op"), py::arg("prescale") = 1.0, py::arg("postscale") = 1.0,
           py::arg("process_set") = 0, py::arg("urgent") = false)
      .def("submit", &PyOperations::Submit, py::arg("kind"), py::arg("tensors"), py::arg("outputs"),
           py::arg("name"), py::kw_only(), py::arg("op") = static_cast<int>(ReduceOp::kSum),
           py::arg("root") = -1, py::arg("prescale") = 1.0, py::arg("postscale") = 1.0,
           py::arg("process_set") = 0, py::arg("parts") = std::vector<int64_t>{},
           py::arg("with_splits") = false, py::arg("grouped") = false, py::arg("urgent") = false)
      .def("poll", &PyOperations::Poll, py::arg("handle"))
      .def("wait", &PyOperations::Wait, py::arg("handle"))
      .def("next_call", &PyOperations::NextCall, py::arg("operation"), py::arg("process_set"))
      .def("joins", &PyOperations::Joins, py::arg("process_set"))
      .def("drop_finished", &PyOperations::DropFinished)
      .def_property_readonly("next_handle", &PyOperations::next_handle)
      .def("__len__", &PyOperations::size);
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

void BindReducer(py::module_& module) {
  const ReducerOptions defaults;
  py::class_<PyReducer>(module, "GradientReducer")
      .def(py::init<const py::capsule&, std::vector<at::Tensor>, std::vector<std::string>,
                    std::string, int, double, double, const std::string&, int, int64_t, int64_t,
                    uint32_t, std::vector<std::vector<size_t>>, bool, std::vector<size_t>>(),
           py::arg("engine"), py::arg("parameters"), py::arg("names"), py::kw_only(),
           py::arg("name") = defaults.name, py::arg("op") = static_cast<int>(defaults.op),
           py::arg("prescale") = 1.0, py::arg("postscale") = 1.0, py::arg("compression") = "none",
           py::arg("backward_passes_per_step") = 1, py::arg("bucket_bytes") = defaults.limits.bytes,
           py::arg("first_bucket_bytes") = defaults.limits.first_bytes, py::arg("process_set") = 0,
           py::arg("groups") = defaults.groups, py::arg("sparse_as_dense") = false,
           py::arg("apart") = defaults.apart)
      .def("synchronize", &PyReducer::Synchronize)
      .def("set_apart", &PyReducer::SetApart, py::arg("indices"))
      .def("pending", &PyReducer::Pending)
      .def("remove", &PyReducer::Remove)
      .def("set_backward_passes_per_step", &PyReducer::SetPasses, py::arg("passes"))
      .def_property_readonly("bucket_count",
                             [](const PyReducer& self) { return self.statistics().buckets; })
      .def_property_readonly("placed_bucket_count",
                             [](const PyReducer& self) { return self.statistics().placed_buckets; })
      .def_property_readonly("gradient_bytes",
                             [](const PyReducer& self) { return self.statistics().bytes; })
      .def_property_readonly("copies_in",
                             [](const PyReducer& self) { return self.statistics().copies_in; });
}

}  // namespace

void ThrowAssertionError(const std::string& message) { throw AssertionFailure(message); }

}  // namespace rueda::pytorch

PYBIND11_MODULE(_torch, module) {
  module.doc() = "Tensors and gradients between PyTorch and rueda's engine.";
  module.attr("torch_version") = TORCH_VERSION;
  rueda::pytorch::BindOperations(module);
  rueda::pytorch::BindReducer(module);
}
