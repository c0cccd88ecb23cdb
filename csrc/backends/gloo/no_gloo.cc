// no_gloo: what a build without Gloo has in place of gloo_loader.cc.
#include "backends/gloo/make_gloo.h"

namespace rueda::backends {

Result<std::unique_ptr<Backend>> MakeGlooBackend(GlooParts) {
  return Status(
      StatusCode::kUnsupported,
      "this rueda was built without Gloo; install it (Debian: apt-get install libgloo-dev) "
      "and build again with RUEDA_WITH_GLOO=ON");
}

Result<std::unique_ptr<Backend>> MakeGlooBackendFrom(const std::string&, GlooParts parts) {
  return MakeGlooBackend(std::move(parts));
}

}  // namespace rueda::backends
