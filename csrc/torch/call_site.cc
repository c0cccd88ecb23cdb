#include "torch/call_site.h"

#include <torch/csrc/python_headers.h>

#include <utility>

namespace rueda::pytorch {
namespace {

struct DropReference {
  void operator()(PyObject* object) const { Py_DECREF(object); }
};
using Owned = std::unique_ptr<PyObject, DropReference>;

std::string AttributeText(PyObject* object, const char* name) {
  const Owned text(PyObject_GetAttrString(object, name));
  const char* utf8 = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  if (utf8 != nullptr) return utf8;
  PyErr_Clear();
  return {};
}

}  // namespace

CallSite CallerOutside(const std::string& package) {
  PyFrameObject* frame = PyEval_GetFrame();
  Py_XINCREF(reinterpret_cast<PyObject*>(frame));
  while (frame != nullptr) {
    const Owned own(reinterpret_cast<PyObject*>(frame));
    Owned code(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
    if (!AttributeText(code.get(), "co_filename").starts_with(package)) {
      return {std::shared_ptr<void>(
                  code.release(), [](void* object) { Py_DECREF(static_cast<PyObject*>(object)); }),
              PyFrame_GetLineNumber(frame)};
    }
    frame = PyFrame_GetBack(frame);
  }
  return {};
}

std::string Describe(const CallSite& site) {
  if (site.code == nullptr) return {};
  auto* const code = static_cast<PyObject*>(site.code.get());
  return AttributeText(code, "co_name") + "(), " + AttributeText(code, "co_filename") + ":" +
         std::to_string(site.line);
}

}  // namespace rueda::pytorch
