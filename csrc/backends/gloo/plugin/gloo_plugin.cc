// gloo_plugin: the entry points of librueda_gloo.so (plugin_entry.h).
#include <dlfcn.h>
#include <gloo/barrier.h>

#include <string>
#include <utility>

#include "backends/gloo/plugin/gloo_backend.h"
#include "backends/gloo/plugin_entry.h"

namespace rueda::backends {
namespace {

// Other code in the process may carry a Gloo of another version (PyTorch's libtorch_cpu does).
// Mixed, the two would corrupt memory, so look which one this module was bound to.
Status CheckOwnGloo() {
  void (*const barrier)(::gloo::BarrierOptions&) = &::gloo::barrier;
  Dl_info gloo{};
  Dl_info self{};
  ::dladdr(reinterpret_cast<void*>(barrier), &gloo);
  ::dladdr(reinterpret_cast<void*>(&CheckOwnGloo), &self);
  const std::string file = gloo.dli_fname != nullptr ? gloo.dli_fname : "an unknown file";
  const std::string base = file.substr(file.rfind('/') + 1);
  if (base.starts_with("libgloo") || gloo.dli_fbase == self.dli_fbase) return Status::Ok();
  return {StatusCode::kUnsupported,
          "the gloo backend would use the Gloo inside " + file +
              " instead of its own, because that library was loaded for the whole process; "
              "load it without RTLD_GLOBAL"};
}

}  // namespace
}  // namespace rueda::backends

extern "C" const char* rueda_gloo_abi() { return RUEDA_GLOO_ABI; }

extern "C" void rueda_gloo_make(rueda::backends::GlooParts* parts,
                                rueda::backends::MadeBackend* made) {
  const rueda::Status status = rueda::backends::CheckOwnGloo();
  if (status.ok()) {
    made->emplace(rueda::backends::GlooBackend::Make(std::move(*parts)));
  } else {
    made->emplace(status);
  }
}
