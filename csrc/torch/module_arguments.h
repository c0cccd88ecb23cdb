// Arguments on Python's stack, and exceptions on their way back: what METH_FASTCALL functions are
// made of. Only module*.cc include it.
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

// The object that `make` returns, with its exceptions as Python's: null then.
template <typename Make>
PyObject* ObjectOrError(Make make) {
  try {
    return make().release().ptr();
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

}  // namespace rueda::pytorch
