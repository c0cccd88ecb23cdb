#include "engine/job.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "backends/gloo/make_gloo.h"
#include "engine/host_job.h"
#include "engine/linger.h"
#include "engine/socket_job.h"
#include "transport/arena.h"
#include "transport/arena_layout.h"
#include "transport/socket_channel.h"
#include "transport/thread_setup.h"

namespace rueda::engine {
namespace {

Duration Seconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

control::CoordinatorOptions CoordinatorOptionsOf(const Config& config, const Topology& topology) {
  control::CoordinatorOptions options;
  options.limits.bucket_bytes = config.fusion_threshold;
  options.limits.run_timeout = Seconds(config.timeout_seconds);
  options.limits.linger = config.linger_us >= 0 ? std::chrono::microseconds(config.linger_us)
                                                : Linger::UsualPause(topology.local_size,
                                                                     transport::UsableProcessors());
  options.cache_capacity = static_cast<size_t>(config.cache_capacity);
  options.stall_warning = Seconds(config.stall_check_time_seconds);
  options.stall_shutdown = Seconds(config.stall_shutdown_time_seconds);
  return options;
}

void PrepareAutotune(const Config& config, EngineParts* parts) {
  if (config.autotune == 0 || parts->topology.rank != 0) return;
  const AutotunerOptions options = AutotunerOptionsOf(config);
  if (options.search.search.tune_bucket_bytes || options.search.search.tune_linger) {
    parts->autotune = options;
    return;
  }
  parts->log(LogLevel::kInfo,
             "RUEDA_AUTOTUNE has nothing to search: RUEDA_FUSION_THRESHOLD and RUEDA_LINGER_US are "
             "both set, and what is set stays.");
}

Result<Sockets> AdoptSockets(std::vector<transport::UniqueFd> sockets) {
  Sockets adopted;
  adopted.channels.resize(sockets.size());
  std::vector<std::function<void()>> closers;
  for (size_t rank = 0; rank < sockets.size(); ++rank) {
    if (!sockets[rank].valid()) continue;
    auto channel =
        transport::SocketChannel::Adopt(std::move(sockets[rank]), static_cast<int>(rank));
    if (!channel.ok()) return channel.status();
    closers.push_back((*channel)->ForkCloser());
    adopted.channels[rank] = std::move(*channel);
  }
  adopted.close_in_forked_child = [closers = std::move(closers)] {
    for (const auto& close : closers) close();
  };
  return adopted;
}

Status UseGloo(EngineParts* parts, std::vector<transport::UniqueFd> streams) {
  Result<Sockets> sockets = AdoptSockets(std::move(streams));
  if (!sockets.ok()) return sockets.status();
  parts->abandon_in_forked_child.push_back(std::move(sockets->close_in_forked_child));
  backends::GlooParts gloo;
  gloo.topology = parts->topology;
  gloo.channels = std::move(sockets->channels);
  gloo.wake = [parker = parts->parker.get()] { parker->Unpark(); };
  auto backend = backends::MakeGlooBackend(std::move(gloo));
  if (!backend.ok()) return backend.status();
  parts->backend = std::move(*backend);
  return Status::Ok();
}

JobLinks TakeOver(const std::vector<int>& arenas, const std::vector<int>& pidfds,
                  const std::vector<int>& streams, const std::vector<int>& control) {
  const auto owned = [](const std::vector<int>& descriptors) {
    return std::vector<transport::UniqueFd>(descriptors.begin(), descriptors.end());
  };
  return {owned(arenas), owned(pidfds), owned(streams), owned(control), {}};
}

Result<transport::UniqueFd> CreateArena(const Config& config, int size) {
  const int64_t memory = ::sysconf(_SC_PHYS_PAGES) * ::sysconf(_SC_PAGESIZE);
  const int64_t wanted = config.arena_bytes > 0 ? config.arena_bytes : memory;
  const int64_t bytes = std::max(wanted, transport::SmallestArena(size));
  return transport::CreateArenaFile(bytes / transport::kPageBytes * transport::kPageBytes);
}

Result<std::unique_ptr<Engine>> StartJob(const Topology& topology, const Config& config,
                                         JobLinks links, Log log) {
  const bool one_host = std::all_of(links.arenas.begin(), links.arenas.end(),
                                    [](const transport::UniqueFd& arena) { return arena.valid(); });
  return (one_host ? StartHostJob : StartSocketJob)(topology, config, std::move(links),
                                                    std::move(log));
}

}  // namespace rueda::engine
