// MakeGlooBackend: buckets through Gloo's algorithms over rueda's own links (docs/backends.md).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "core/clock.h"
#include "core/status.h"
#include "core/types.h"
#include "transport/channel.h"

namespace rueda::backends {

// Tells the engine that a step is worthwhile. Called on the backend's thread, never after the
// backend is gone; must not block.
using WakeFunction = std::function<void()>;

struct GlooParts {
  Topology topology;
  // Proven links by rank, this rank's own null; sockets, for they are polled.
  std::vector<std::unique_ptr<transport::Channel>> channels;
  WakeFunction wake;
  Duration run_timeout = kNever - TimePoint{};  // of each bucket
};

// kUnsupported, saying what to install, where there is no Gloo. Loads librueda_gloo.so from the
// folder of librueda; it stays loaded until the process ends, so nothing need outlive the backend.
Result<std::unique_ptr<Backend>> MakeGlooBackend(GlooParts parts);

// The same from a given file.
Result<std::unique_ptr<Backend>> MakeGlooBackendFrom(const std::string& file, GlooParts parts);

}  // namespace rueda::backends
