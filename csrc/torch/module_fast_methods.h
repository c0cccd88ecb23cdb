// Methods of pybind11's classes that take their arguments from Python's stack (METH_FASTCALL), all
// by place. Small calls are made of little else than handing over arguments, which pybind11 does
// after it has found out which overload is meant. Only module*.cc include it.
#pragma once

#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "torch/module_parts.h"

namespace rueda::pytorch {

using Arguments = std::span<PyObject* const>;

inline const at::Tensor& TensorIn(PyObject* object) {
  if (THPVariable_Check(object)) return THPVariable_Unpack(object);
  throw py::type_error("expected a tensor, not " + std::string(Py_TYPE(object)->tp_name));
}

// The string keeps its text.
inline std::optional<std::string_view> NameIn(PyObject* object) {
  if (object == Py_None) return std::nullopt;
  if (!PyUnicode_Check(object)) {
    throw py::type_error("name must be a string, not " + std::string(Py_TYPE(object)->tp_name));
  }
  Py_ssize_t bytes = 0;
  const char* text = PyUnicode_AsUTF8AndSize(object, &bytes);
  if (text == nullptr) throw py::error_already_set();
  return std::string_view(text, static_cast<size_t>(bytes));
}

inline double FloatIn(PyObject* object) {
  const double number = PyFloat_AsDouble(object);
  if (number == -1.0 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return number;
}

// Of a type that is no wider than 64 bits.
template <typename Integer>
Integer IntegerIn(PyObject* object) {
  const long long number = PyLong_AsLongLong(object);
  if (number == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  if (!std::in_range<Integer>(number)) {
    throw py::value_error(std::to_string(number) + " is out of range");
  }
  return static_cast<Integer>(number);
}

// What Python calls: `Method` with the object behind `self`, and its exceptions as Python's.
template <typename Class, py::object (*Method)(Class&, Arguments), size_t kLeast, size_t kMost>
PyObject* FastCall(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  const Arguments all(arguments, static_cast<size_t>(count));
  if (all.size() < kLeast || all.size() > kMost) {
    return PyErr_Format(PyExc_TypeError, "expected %zu to %zu arguments, not %zu", kLeast, kMost,
                        all.size());
  }
  try {
    return Method(py::cast<Class&>(py::handle(self)), all).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
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
