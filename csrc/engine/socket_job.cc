#include "engine/socket_job.h"

#include <utility>

#include "backends/gloo/make_gloo.h"
#include "transport/poll_parker.h"

namespace rueda::engine {
namespace {

// Rank 0 has a channel to each other rank, by rank; the others one to rank 0.
Result<std::vector<std::unique_ptr<transport::Channel>>> ControlChannels(
    const Topology& topology, std::vector<transport::UniqueFd> sockets) {
  auto channels = AdoptSockets(std::move(sockets));
  if (channels.ok() && topology.rank != 0) channels->resize(1);
  return channels;
}

Result<std::unique_ptr<backends::Backend>> MakeBackend(const EngineParts& parts,
                                                       std::vector<transport::UniqueFd> streams) {
  auto channels = AdoptSockets(std::move(streams));
  if (!channels.ok()) return channels.status();
  backends::GlooParts gloo;
  gloo.topology = parts.topology;
  gloo.channels = std::move(*channels);
  gloo.wake = [parker = parts.parker.get()] { parker->Unpark(); };
  return backends::MakeGlooBackend(std::move(gloo));
}

}  // namespace

Result<std::unique_ptr<Engine>> StartSocketJob(const Topology& topology, const Config& config,
                                               JobLinks links, Log log) {
  if (config.backend == "shm") {
    return Status(StatusCode::kUnsupported,
                  "RUEDA_BACKEND=shm needs all ranks on one host, but these met over a network; use "
                  "RUEDA_BACKEND=gloo or auto");
  }
  EngineParts parts;
  parts.topology = topology;
  parts.coordinator = CoordinatorOptionsOf(config);
  parts.linger = std::chrono::microseconds(config.linger_us);
  parts.log = std::move(log);
  parts.abandon_in_forked_child = [streams = CloserOf(links.streams),
                                   control = CloserOf(links.control)] {
    streams();
    control();
  };
  auto parker = transport::PollParker::Create();
  if (!parker.ok()) return parker.status();
  auto control = ControlChannels(topology, std::move(links.control));
  if (!control.ok()) return control.status();
  for (const auto& channel : *control) {
    if (channel != nullptr) (*parker)->Watch(channel.get());
  }
  parts.control = std::move(*control);
  parts.control_needs_hello = true;
  parts.parker = std::move(*parker);
  auto backend = MakeBackend(parts, std::move(links.streams));
  if (!backend.ok()) return backend.status();
  parts.backend = std::move(*backend);
  return Engine::Start(std::move(parts));
}

}  // namespace rueda::engine
