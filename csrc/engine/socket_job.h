// Composes the engine of a rank whose peers may be on other hosts: sockets for everything.
#pragma once

#include <memory>

#include "core/config.h"
#include "core/log.h"
#include "core/status.h"
#include "core/types.h"
#include "engine/engine.h"
#include "engine/job.h"

namespace rueda::engine {

// kUnsupported if the configuration asks for a backend that needs shared memory. Deaths are known
// by closed connections; the ranks share no memory, so buckets are private.
Result<std::unique_ptr<Engine>> StartSocketJob(const Topology& topology, const Config& config,
                                               JobLinks links, Log log);

}  // namespace rueda::engine
