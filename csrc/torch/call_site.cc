#include "torch/call_site.h"

#include <torch/csrc/python_headers.h>

#include <string_view>
#include <utility>

namespace rueda::pytorch {
namespace {

struct DropReference {
  template <typename Object>
  void operator()(Object* object) const {
    Py_DECREF(object);
  }
};
using OwnedFrame = std::unique_ptr<PyFrameObject, DropReference>;
using OwnedCode = std::unique_ptr<PyCodeObject, DropReference>;

// Python keeps the bytes with the string, so this allocates nothing after the first time.
std::string_view TextOf(PyObject* string) {
  Py_ssize_t bytes = 0;
  const char* utf8 = PyUnicode_AsUTF8AndSize(string, &bytes);
  if (utf8 != nullptr) return {utf8, static_cast<size_t>(bytes)};
  PyErr_Clear();
  return {};
}

int InstructionOf(PyFrameObject* frame) {
#if PY_VERSION_HEX >= 0x030B0000
  return PyFrame_GetLasti(frame);
#else
  return frame->f_lasti * static_cast<int>(sizeof(_Py_CODEUNIT));
#endif
}

}  // namespace

void DropCode::operator()(void* code) const { Py_DECREF(static_cast<PyCodeObject*>(code)); }

CallSite CallerOutside(const std::string& package) {
  PyFrameObject* innermost = PyEval_GetFrame();
  Py_XINCREF(innermost);
  for (OwnedFrame frame(innermost); frame != nullptr; frame.reset(PyFrame_GetBack(frame.get()))) {
    OwnedCode code(PyFrame_GetCode(frame.get()));
    if (TextOf(code->co_filename).starts_with(package)) continue;
    return {std::unique_ptr<void, DropCode>(code.release()), InstructionOf(frame.get())};
  }
  return {};
}

std::string Describe(const CallSite& site) {
  if (site.code == nullptr) return {};
  auto* const code = static_cast<PyCodeObject*>(site.code.get());
  return std::string(TextOf(code->co_name)) + "(), " + std::string(TextOf(code->co_filename)) +
         ":" + std::to_string(PyCode_Addr2Line(code, site.instruction));
}

}  // namespace rueda::pytorch
