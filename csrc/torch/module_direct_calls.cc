// Direct calls: the usual calls of rueda's functions, answered without a frame of Python.
//
// Each is called with what the user gave the function of its name (see bindings/shortcut.h), and
// returns NotImplemented, having done nothing, where that is not what small calls are made with:
// a process set, a priority, a compression, a gradient, a mistake. What is left over is the
// function's, which knows what to do and to say.
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "torch/module_arguments.h"
#include "torch/module_operations.h"
#include "torch/module_parts.h"

namespace rueda::pytorch {
namespace {

constexpr const char* kCapsule = "rueda.direct_calls";

// Of the forms of all-reduce, in their order; `compression`, which one has, is not usual.
enum Parameter { kTensor, kAverage, kName, kOp, kPrescale, kPostscale, kProcessSet, kParameters };
constexpr std::array<const char*, kParameters> kParameterNames{
    "tensor", "average", "name", "op", "prescale_factor", "postscale_factor", "process_set"};
// By place: `compression` follows the name where there is one.
constexpr size_t kMostPlaces = kParameters, kMostPlacesWithCompression = kOp;

// What the caller gave, by parameter; null where it gave nothing.
using Given = std::array<PyObject*, kParameters>;

class DirectCalls {
 public:
  DirectCalls(py::object operations, py::object op_type, py::object global_set, py::dict unfinished)
      : kept_(std::move(operations)),
        operations_(kept_.cast<PyOperations&>()),
        op_type_(std::move(op_type)),
        global_set_(std::move(global_set)),
        unfinished_(std::move(unfinished)) {
    for (size_t i = 0; i < kParameters; ++i) {
      names_[i] = py::reinterpret_steal<py::object>(PyUnicode_InternFromString(kParameterNames[i]));
    }
  }

  PyOperations& operations() { return operations_; }

  // False where the call is not a usual one.
  bool Read(Arguments arguments, PyObject* keywords, size_t most_places,
            OperationCall* call) const {
    Given given{};
    if (!Sort(arguments, keywords, most_places, &given)) return false;
    if (given[kTensor] == nullptr || !THPVariable_Check(given[kTensor])) return false;
    if (!IsNone(given[kAverage])) return false;
    if (given[kProcessSet] != nullptr && given[kProcessSet] != global_set_.ptr()) return false;
    if (!IsNone(given[kName]) && !PyUnicode_Check(given[kName])) return false;
    if (!ReadOp(given[kOp], &call->op)) return false;
    if (!ReadScale(given[kPrescale], &call->prescale)) return false;
    if (!ReadScale(given[kPostscale], &call->postscale)) return false;
    call->inputs.push_back(THPVariable_Unpack(given[kTensor]));
    if (!IsNone(given[kName])) call->name = NameIn(given[kName]);
    return true;
  }

  // Whether nothing is left to do with what the operation returns (_finishing.py).
  bool IsFinished(PyObject* handle) const {
    return PyDict_GET_SIZE(unfinished_.ptr()) == 0 ||
           PyDict_GetItemWithError(unfinished_.ptr(), handle) == nullptr;
  }

 private:
  bool Sort(Arguments arguments, PyObject* keywords, size_t most_places, Given* given) const {
    const size_t named = keywords == nullptr ? 0 : static_cast<size_t>(PyTuple_GET_SIZE(keywords));
    const size_t places = arguments.size() - named;
    if (places > most_places) return false;
    std::copy_n(arguments.begin(), places, given->begin());
    for (size_t i = 0; i < named; ++i) {
      const size_t parameter = ParameterOf(PyTuple_GET_ITEM(keywords, static_cast<Py_ssize_t>(i)));
      if (parameter == kParameters || parameter < places) return false;
      (*given)[parameter] = arguments[places + i];
    }
    return true;
  }

  static bool IsNone(PyObject* given) { return given == nullptr || given == Py_None; }

  // Python's compiler interns the names of keywords, so equal ones are the same object.
  size_t ParameterOf(PyObject* keyword) const {
    size_t parameter = 0;
    while (parameter < kParameters && names_[parameter].ptr() != keyword) ++parameter;
    return parameter;
  }

  // Adasum is several operations.
  bool ReadOp(PyObject* object, ReduceOp* op) const {
    *op = ReduceOp::kAverage;
    if (IsNone(object)) return true;
    if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != op_type_.ptr()) return false;
    *op = static_cast<ReduceOp>(IntegerIn<uint8_t>(object));
    return IsValid(*op);
  }

  static bool ReadScale(PyObject* object, double* scale) {
    if (object == nullptr) return true;
    if (!PyFloat_CheckExact(object)) return false;
    *scale = PyFloat_AS_DOUBLE(object);
    return true;
  }

  const py::object kept_;
  PyOperations& operations_;
  const py::object op_type_, global_set_;
  const py::dict unfinished_;
  std::array<py::object, kParameters> names_;
};

py::object NotUsual() { return py::reinterpret_borrow<py::object>(Py_NotImplemented); }

enum class Form { kApart, kInPlace };

template <Form kForm>
py::object AllreduceAsync(DirectCalls& direct, Arguments arguments, PyObject* keywords) {
  OperationCall call;
  call.in_place = kForm == Form::kInPlace;
  if (!direct.Read(arguments, keywords, kMostPlaces, &call)) return NotUsual();
  return py::int_(direct.operations().Start(std::move(call)));
}

template <Form kForm>
py::object AllreduceNow(DirectCalls& direct, Arguments arguments, PyObject* keywords) {
  constexpr bool kIsInPlace = kForm == Form::kInPlace;
  OperationCall call;
  call.in_place = kIsInPlace;
  call.urgent = true;
  const size_t most_places = kIsInPlace ? kMostPlaces : kMostPlacesWithCompression;
  if (!direct.Read(arguments, keywords, most_places, &call)) return NotUsual();
  const bool has_gradient = at::GradMode::is_enabled() && call.inputs.front().requires_grad();
  if (!kIsInPlace && has_gradient) return NotUsual();
  return direct.operations().Wait(direct.operations().Start(std::move(call)));
}

py::object Synchronize(DirectCalls& direct, Arguments arguments, PyObject* keywords) {
  if (keywords != nullptr || arguments.size() != 1) return NotUsual();
  PyObject* const handle = arguments.front();
  if (!PyLong_CheckExact(handle) || !direct.IsFinished(handle)) return NotUsual();
  return direct.operations().Wait(IntegerIn<int64_t>(handle));
}

using Answer = py::object (*)(DirectCalls&, Arguments, PyObject* keywords);

template <Answer kAnswer>
PyObject* Call(PyObject* self, PyObject* const* arguments, Py_ssize_t places, PyObject* keywords) {
  auto* const direct = static_cast<DirectCalls*>(PyCapsule_GetPointer(self, kCapsule));
  if (direct == nullptr) return nullptr;
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
  const Arguments all(arguments, static_cast<size_t>(places + named));
  return ObjectOrError([&] { return kAnswer(*direct, all, keywords); });
}

template <Answer kAnswer>
void Add(const char* name, const py::capsule& self, const py::dict& calls) {
  using AnyFunction = void (*)();
  static PyMethodDef definition{};  // Python keeps a pointer to it
  const auto call = reinterpret_cast<AnyFunction>(&Call<kAnswer>);
  definition = {name, reinterpret_cast<PyCFunction>(call), METH_FASTCALL | METH_KEYWORDS, nullptr};
  calls[name] = py::reinterpret_steal<py::object>(PyCFunction_New(&definition, self.ptr()));
}

py::dict MakeDirectCalls(py::object operations, py::object op_type, py::object global_set,
                         py::dict unfinished) {
  auto direct = std::make_unique<DirectCalls>(std::move(operations), std::move(op_type),
                                              std::move(global_set), std::move(unfinished));
  const py::capsule self(direct.get(), kCapsule, [](PyObject* capsule) {
    delete static_cast<DirectCalls*>(PyCapsule_GetPointer(capsule, kCapsule));
  });
  static_cast<void>(direct.release());  // the capsule's
  py::dict calls;
  Add<AllreduceNow<Form::kApart>>("allreduce", self, calls);
  Add<AllreduceNow<Form::kInPlace>>("allreduce_", self, calls);
  Add<AllreduceAsync<Form::kApart>>("allreduce_async", self, calls);
  Add<AllreduceAsync<Form::kInPlace>>("allreduce_async_", self, calls);
  Add<Synchronize>("synchronize", self, calls);
  return calls;
}

}  // namespace

void BindDirectCalls(py::module_& module) {
  module.def("direct_calls", &MakeDirectCalls, py::arg("operations"), py::kw_only(),
             py::arg("op_type"), py::arg("global_process_set"), py::arg("unfinished"));
}

}  // namespace rueda::pytorch
