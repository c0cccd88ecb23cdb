#include "bindings/shortcut.h"

#include <structmember.h>

#include <array>
#include <cstddef>

namespace py = pybind11;

namespace rueda {
namespace {

struct Shortcut {
  PyObject_HEAD  // NOLINT
      vectorcallfunc call;
  PyObject* function;
  PyObject* direct;  // null: nothing
  PyObject* attributes;
  PyObject* weak_references;
};

Shortcut* Of(PyObject* self) { return reinterpret_cast<Shortcut*>(self); }

PyObject* Call(PyObject* self, PyObject* const* arguments, size_t count, PyObject* keywords) {
  if (PyObject* const direct = Of(self)->direct; direct != nullptr && direct != Py_None) {
    // The call lets other threads run, one of which may end the job that this belongs to.
    const auto kept = py::reinterpret_borrow<py::object>(direct);
    PyObject* const answer = PyObject_Vectorcall(direct, arguments, count, keywords);
    if (answer != Py_NotImplemented) return answer;
    Py_DECREF(answer);
  }
  return PyObject_Vectorcall(Of(self)->function, arguments, count, keywords);
}

PyObject* New(PyTypeObject* type, PyObject* arguments, PyObject* keywords) {
  PyObject* function = nullptr;
  static std::array<char, sizeof("function")> name{"function"};
  static std::array<char*, 2> names{name.data(), nullptr};
  if (PyArg_ParseTupleAndKeywords(arguments, keywords, "O:Shortcut", names.data(), &function) ==
      0) {
    return nullptr;
  }
  if (PyCallable_Check(function) == 0) {
    return PyErr_Format(PyExc_TypeError, "a shortcut needs a function, not %s",
                        Py_TYPE(function)->tp_name);
  }
  PyObject* const self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  Of(self)->call = &Call;
  Of(self)->function = function;
  Py_INCREF(function);
  return self;
}

int Traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(Of(self)->function);
  Py_VISIT(Of(self)->direct);
  Py_VISIT(Of(self)->attributes);
  return 0;
}

int Clear(PyObject* self) {
  Py_CLEAR(Of(self)->function);
  Py_CLEAR(Of(self)->direct);
  Py_CLEAR(Of(self)->attributes);
  return 0;
}

void Deallocate(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (Of(self)->weak_references != nullptr) PyObject_ClearWeakRefs(self);
  Clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* Represent(PyObject* self) { return PyObject_Repr(Of(self)->function); }

// As functions are bound: pydoc and inspect know a routine by this.
PyObject* Bind(PyObject* self, PyObject* object, PyObject* /*type*/) {
  if (object == nullptr || object == Py_None) return Py_NewRef(self);
  return PyMethod_New(self, object);
}

// As functions are pickled and copied: by where they are found.
PyObject* Reduce(PyObject* self, PyObject* /*unused*/) {
  return PyObject_GetAttrString(self, "__qualname__");
}

PyTypeObject* MakeType() {
  static std::array<PyMemberDef, 5> members{{
      {"direct", T_OBJECT, offsetof(Shortcut, direct), 0, nullptr},
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(Shortcut, call), READONLY, nullptr},
      {"__dictoffset__", T_PYSSIZET, offsetof(Shortcut, attributes), READONLY, nullptr},
      {"__weaklistoffset__", T_PYSSIZET, offsetof(Shortcut, weak_references), READONLY, nullptr},
      {},
  }};
  static std::array<PyGetSetDef, 2> properties{{
      {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
      {},
  }};
  static std::array<PyMethodDef, 2> methods{{{"__reduce__", Reduce, METH_NOARGS, nullptr}, {}}};
  const auto slot = [](auto* function) { return reinterpret_cast<void*>(function); };
  std::array<PyType_Slot, 12> slots{{
      {Py_tp_new, slot(&New)},
      {Py_tp_dealloc, slot(&Deallocate)},
      {Py_tp_traverse, slot(&Traverse)},
      {Py_tp_clear, slot(&Clear)},
      {Py_tp_call, slot(&PyVectorcall_Call)},
      {Py_tp_repr, slot(&Represent)},
      {Py_tp_descr_get, slot(&Bind)},
      {Py_tp_members, members.data()},
      {Py_tp_getset, properties.data()},
      {Py_tp_methods, methods.data()},
      {},
  }};
  PyType_Spec spec{"rueda._core.Shortcut", sizeof(Shortcut), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
                   slots.data()};
  return reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
}

}  // namespace

void BindShortcut(py::module_& module) {
  module.attr("Shortcut") =
      py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(MakeType()));
}

}  // namespace rueda
