// StartJob: the engine of this rank, from what the bootstrap brought together.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "control/coordinator.h"
#include "core/config.h"
#include "core/log.h"
#include "core/status.h"
#include "core/types.h"
#include "engine/engine.h"
#include "engine/engine_parts.h"
#include "transport/channel.h"
#include "transport/unique_fd.h"

namespace rueda::engine {

// Descriptors by rank, proven and passed by the bootstrap. On one host there are arenas and pidfds;
// where the ranks met over a network there are control connections instead.
struct JobLinks {
  std::vector<transport::UniqueFd> arenas;   // the own one included
  std::vector<transport::UniqueFd> pidfds;   // invalid at the own rank
  std::vector<transport::UniqueFd> streams;  // to each peer, for backends that use sockets
  std::vector<transport::UniqueFd> control;  // between rank 0 and each other rank
  Hooks hooks;
};

// Takes descriptors over as they come from Python: -1 where there is none.
JobLinks TakeOver(const std::vector<int>& arenas, const std::vector<int>& pidfds,
                  const std::vector<int>& streams, const std::vector<int>& control);

// The file of this rank's arena, for the bootstrap to pass on. Its size is what the configuration
// says, else the machine's memory: address space, of which touched pages alone are used.
Result<transport::UniqueFd> CreateArena(const Config& config, int size);

Result<std::unique_ptr<Engine>> StartJob(const Topology& topology, const Config& config,
                                         JobLinks links, Log log);

// What both kinds of job need.
control::CoordinatorOptions CoordinatorOptionsOf(const Config& config, const Topology& topology);
// On rank 0, if RUEDA_AUTOTUNE asks for it; topology and log are set already.
void PrepareAutotune(const Config& config, EngineParts* parts);
struct Sockets {
  std::vector<std::unique_ptr<transport::Channel>> channels;  // null where there was none
  // For a forked child: closes its copies, so that peers notice when this process ends.
  std::function<void()> close_in_forked_child;
};
Result<Sockets> AdoptSockets(std::vector<transport::UniqueFd> sockets);
// Makes Gloo the backend, over these streams; the parker is set already.
Status UseGloo(EngineParts* parts, std::vector<transport::UniqueFd> streams);

}  // namespace rueda::engine
