// Shortcut: a Python function, and something faster that answers its usual calls.
//
// While it has a `direct`, that is called first, with the same arguments; where it returns
// NotImplemented, the function is called. So the function stays the place where everything is said:
// the signature, the documentation, what is rare, what is wrong. For everybody who looks at it, it
// is that function: once functools.update_wrapper has seen it.
#pragma once

#include <pybind11/pybind11.h>

namespace rueda {

// The type Shortcut(function), whose attribute `direct` is None at first.
void BindShortcut(pybind11::module_& module);

}  // namespace rueda
