// Methods of pybind11's classes that take their arguments from Python's stack (METH_FASTCALL), all
// by place. Small calls are made of little else than handing over arguments, which pybind11 does
// after it has found out which overload is meant. Only module*.cc include it.
#pragma once

#include <cstddef>

#include "torch/module_arguments.h"

namespace rueda::pytorch {

// What Python calls: `Method` with the object behind `self`, and its exceptions as Python's.
template <typename Class, py::object (*Method)(Class&, Arguments), size_t kLeast, size_t kMost>
PyObject* FastCall(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  const Arguments all(arguments, static_cast<size_t>(count));
  if (all.size() < kLeast || all.size() > kMost) {
    return PyErr_Format(PyExc_TypeError, "expected %zu to %zu arguments, not %zu", kLeast, kMost,
                        all.size());
  }
  return ObjectOrError([&] { return Method(py::cast<Class&>(py::handle(self)), all); });
}

// Python sees to it that `self` is one of the class.
template <typename Class, py::object (*Method)(Class&, Arguments), size_t kLeast, size_t kMost>
void AddFastMethod(const py::class_<Class>& type, const char* name) {
  using AnyFunction = void (*)();
  static PyMethodDef definition{};  // Python keeps a pointer to it
  const auto call = reinterpret_cast<AnyFunction>(&FastCall<Class, Method, kLeast, kMost>);
  definition = {name, reinterpret_cast<PyCFunction>(call), METH_FASTCALL, nullptr};
  auto* const descriptor =
      PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), &definition);
  type.attr(name) = py::reinterpret_steal<py::object>(descriptor);
}

}  // namespace rueda::pytorch
