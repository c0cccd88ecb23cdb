// gloo_loader: loads librueda_gloo.so at run time, so that its Gloo never meets PyTorch's.
//
// libtorch_cpu exports a Gloo of another version. A module of its own, loaded RTLD_LOCAL by
// librueda, which links neither, keeps the two apart; and rueda runs where no Gloo is installed.
#include <dlfcn.h>

#include <string>
#include <utility>

#include "backends/gloo/make_gloo.h"
#include "backends/gloo/plugin_entry.h"

namespace rueda::backends {
namespace {

constexpr char kFileName[] = "librueda_gloo.so";

struct CloseLibrary {
  void operator()(void* library) const { ::dlclose(library); }
};
using Library = std::unique_ptr<void, CloseLibrary>;

Status Unusable(const std::string& file, const std::string& why) {
  return {StatusCode::kUnsupported,
          "the gloo backend cannot be loaded from " + file + ": " + why +
              "; install Gloo (Debian: apt-get install libgloo-dev) and rueda again, or choose "
              "another backend"};
}

std::string LastError() {
  const char* const error = ::dlerror();
  return error != nullptr ? error : "no reason given";
}

// The folder that holds the code of this very function: librueda's.
std::string OwnFolder() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<void*>(&OwnFolder), &info) == 0 || info.dli_fname == nullptr) {
    return "";
  }
  const std::string file = info.dli_fname;
  return file.substr(0, file.rfind('/') + 1);
}

}  // namespace

Result<std::unique_ptr<Backend>> MakeGlooBackend(GlooParts parts) {
  return MakeGlooBackendFrom(OwnFolder() + kFileName, std::move(parts));
}

Result<std::unique_ptr<Backend>> MakeGlooBackendFrom(const std::string& file, GlooParts parts) {
  // NODELETE: a backend's code must not go while it lives, and Gloo is not made to be unloaded.
  const Library library(::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE));
  if (library == nullptr) return Unusable(file, LastError());
  auto* const abi = reinterpret_cast<GlooAbiFunction*>(::dlsym(library.get(), kGlooAbiSymbol));
  if (abi == nullptr) return Unusable(file, LastError());
  if (std::string_view(abi()) != RUEDA_GLOO_ABI) {
    return Unusable(
        file, std::string("it belongs to rueda ") + abi() + ", this is rueda " + RUEDA_GLOO_ABI);
  }
  auto* const make = reinterpret_cast<GlooMakeFunction*>(::dlsym(library.get(), kGlooMakeSymbol));
  if (make == nullptr) return Unusable(file, LastError());
  MadeBackend made;
  make(&parts, &made);
  return made.has_value() ? std::move(*made) : Unusable(file, "it made no backend");
}

}  // namespace rueda::backends
