// python_errors: exceptions for Python that are thrown where no GIL is held. Defined in module.cc,
// the one file that sees Python.
#pragma once

#include <string>

namespace rueda::pytorch {

// To be called from an autograd hook: backward() raises AssertionError with this message.
[[noreturn]] void ThrowAssertionError(const std::string& message);

}  // namespace rueda::pytorch
