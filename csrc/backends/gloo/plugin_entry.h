// The entry points of librueda_gloo.so, as its loader in librueda looks them up.
//
// C++ values cross here, so both sides must come from one build: the loader compares the versions
// before it calls anything else.
#pragma once

#include <optional>

#include "backends/gloo/make_gloo.h"

namespace rueda::backends {

// Empty until the plug-in has answered.
using MadeBackend = std::optional<Result<std::unique_ptr<Backend>>>;

inline constexpr char kGlooAbiSymbol[] = "rueda_gloo_abi";
using GlooAbiFunction = const char*();

inline constexpr char kGlooMakeSymbol[] = "rueda_gloo_make";
using GlooMakeFunction = void(GlooParts* parts, MadeBackend* made);

}  // namespace rueda::backends

extern "C" {
rueda::backends::GlooAbiFunction rueda_gloo_abi;
rueda::backends::GlooMakeFunction rueda_gloo_make;
}
