#include "engine/socket_job.h"

#include <utility>

#include "transport/poll_parker.h"

namespace rueda::engine {
Result<std::unique_ptr<Engine>> StartSocketJob(const Topology& topology, const Config& config,
                                               JobLinks links, Log log) {
  if (config.backend == "shm") {
    return Status(
        StatusCode::kUnsupported,
        "RUEDA_BACKEND=shm needs all ranks on one host, but these met over a network; use "
        "RUEDA_BACKEND=gloo or auto");
  }
  EngineParts parts;
  parts.topology = topology;
  parts.coordinator = CoordinatorOptionsOf(config, topology);
  parts.log = std::move(log);
  parts.hooks = std::move(links.hooks);
  PrepareAutotune(config, &parts);
  auto parker = transport::PollParker::Create();
  if (!parker.ok()) return parker.status();
  Result<Sockets> control = AdoptSockets(std::move(links.control));
  if (!control.ok()) return control.status();
  for (const auto& channel : control->channels) {
    if (channel != nullptr) (*parker)->Watch(channel.get());
  }
  parts.parker = std::move(*parker);
  // Rank 0 has a channel to each other rank, by rank; the others have one, to rank 0.
  parts.control = std::move(control->channels);
  parts.control_needs_hello = true;
  parts.abandon_in_forked_child.push_back(std::move(control->close_in_forked_child));
  RUEDA_RETURN_IF_ERROR(UseGloo(&parts, std::move(links.streams)));
  return Engine::Start(std::move(parts));
}

}  // namespace rueda::engine
