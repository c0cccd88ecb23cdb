// GlooWorld: the gloo backends of a job whose ranks are threads joined by socket pairs.
#pragma once

#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "backend_world.h"
#include "backends/gloo/make_gloo.h"
#include "socket_mesh.h"

namespace rueda::testing {

inline BackendWorld GlooWorld(int size, Duration run_timeout = std::chrono::minutes(1)) {
  BackendWorld world;
  std::vector<Channels> mesh = SocketMesh(size);
  for (int rank = 0; rank < size; ++rank) {
    auto bell = std::make_shared<Bell>();
    Result<std::unique_ptr<backends::Backend>> backend =
        backends::MakeGlooBackend({.topology = TopologyOf(rank, size),
                                   .channels = std::move(mesh[static_cast<size_t>(rank)]),
                                   .wake = [bell] { bell->Ring(); },
                                   .run_timeout = run_timeout});
    INFO(backend.status().message());
    REQUIRE(backend.ok());
    world.alarms.push_back(std::move(bell));
    world.backends.push_back(std::move(*backend));
  }
  return world;
}

}  // namespace rueda::testing
