// Composes the engine of a rank whose peers are all on its host: shared memory, pidfds.
#pragma once

#include <memory>
#include <vector>

#include "core/config.h"
#include "core/log.h"
#include "core/status.h"
#include "core/types.h"
#include "engine/engine.h"
#include "engine/engine_parts.h"
#include "engine/job.h"
#include "transport/arena.h"
#include "transport/unique_fd.h"

namespace rueda::engine {

using ArenaMappings = std::vector<std::shared_ptr<transport::ArenaMapping>>;  // by rank

// The parts of one rank's engine over mapped arenas; streams and pidfds are taken over. Tests whose
// ranks are threads hand the same mappings to all of them.
Result<EngineParts> ComposeHostJob(const Topology& topology, const Config& config,
                                   ArenaMappings mappings, std::vector<transport::UniqueFd> pidfds,
                                   std::vector<transport::UniqueFd> streams, Log log);

// Maps the arenas, composes and starts.
Result<std::unique_ptr<Engine>> StartHostJob(const Topology& topology, const Config& config,
                                             JobLinks links, Log log);

}  // namespace rueda::engine
