#include "engine/host_job.h"

#include <sys/mman.h>

#include <utility>

#include "backends/shm/shm_backend.h"
#include "core/text.h"
#include "transport/control_page.h"
#include "transport/host_membership.h"
#include "transport/shm_channel.h"
#include "transport/thread_setup.h"

namespace rueda::engine {
namespace {

using transport::ArenaLayout;
using transport::ArenaMapping;

// Peers' arenas are not inherited by forked children, which have no business there.
Result<ArenaMappings> MapArenas(const std::vector<transport::UniqueFd>& files, int own_rank) {
  ArenaMappings mappings;
  for (size_t rank = 0; rank < files.size(); ++rank) {
    auto mapping = ArenaMapping::Map(files[rank]);
    if (!mapping.ok()) return mapping.status();
    if (rank > 0 && (*mapping)->bytes() != mappings.front()->bytes()) {
      return Status(StatusCode::kInvalidArgument,
                    "RUEDA_ARENA_BYTES differs: rank " + std::to_string(rank) + " has " +
                        FormatBytes((*mapping)->bytes()) + ", rank 0 " +
                        FormatBytes(mappings.front()->bytes()) + "; make it equal on all ranks");
    }
    if (static_cast<int>(rank) != own_rank) {
      ::madvise((*mapping)->base(), static_cast<size_t>((*mapping)->bytes()), MADV_DONTFORK);
    }
    mappings.push_back(std::move(*mapping));
  }
  return mappings;
}

// What one rank shows in its arena, and what others show it.
class HostView {
 public:
  // Both outlive the view.
  HostView(const Topology& topology, const ArenaMappings& mappings)
      : topology_(topology), mappings_(mappings) {}

  uint8_t* base(int rank) const { return mappings_[static_cast<size_t>(rank)]->base(); }
  ArenaLayout layout(int rank) const {
    return ArenaLayout::For(rank, topology_.size, mappings_[static_cast<size_t>(rank)]->bytes());
  }
  transport::ControlPage* page(int rank) const {
    return reinterpret_cast<transport::ControlPage*>(base(rank) + layout(rank).control);
  }

  std::unique_ptr<transport::Channel> ChannelTo(int rank) const {
    return std::make_unique<transport::ShmChannel>(
        transport::RingAt(base(rank), layout(rank), topology_.rank),
        transport::RingAt(base(topology_.rank), layout(topology_.rank), rank),
        &page(rank)->doorbell, rank);
  }

  backends::ShmGroup Group() const {
    backends::ShmGroup group;
    group.index = topology_.rank;
    group.staging_bytes = transport::kStagingSlots * transport::kStagingChunkBytes;
    for (int rank = 0; rank < topology_.size; ++rank) {
      group.members.push_back(
          {base(rank), base(rank) + layout(rank).staging,
           reinterpret_cast<backends::ShmCounters*>(base(rank) + layout(rank).flags),
           &page(rank)->doorbell,
           reinterpret_cast<backends::OneShotMemory*>(base(rank) + layout(rank).one_shot)});
    }
    group.pair_memory = PairMemories();
    return group;
  }

  transport::Whereabouts Places() const {
    std::vector<transport::DriversPlace*> places;
    for (int rank = 0; rank < topology_.size; ++rank) places.push_back(&page(rank)->place);
    return {std::move(places), topology_.rank};
  }

  // By what one rank keeps for another: a page of counters, then the staging memory.
  std::function<backends::PairMemory(int, int)> PairMemories() const {
    std::vector<uint8_t*> pairs;
    for (int rank = 0; rank < topology_.size; ++rank) {
      pairs.push_back(base(rank) + layout(rank).pairs);
    }
    return [pairs = std::move(pairs), stride = layout(0).pair_stride](int rank, int other) {
      uint8_t* const memory = pairs[static_cast<size_t>(rank)] + stride * other;
      return backends::PairMemory{memory + transport::kPageBytes, transport::kPairStagingBytes,
                                  reinterpret_cast<backends::ShmCounters*>(memory)};
    };
  }

 private:
  const Topology& topology_;
  const ArenaMappings& mappings_;
};

std::vector<std::unique_ptr<transport::Channel>> ControlChannels(const HostView& view,
                                                                 const Topology& topology) {
  std::vector<std::unique_ptr<transport::Channel>> channels;
  if (topology.rank != 0) {
    channels.push_back(view.ChannelTo(0));
    return channels;
  }
  for (int rank = 0; rank < topology.size; ++rank) {
    channels.push_back(rank == 0 ? nullptr : view.ChannelTo(rank));
  }
  return channels;
}

// Keeps a forked child from writing into the job: its peers' memory is gone, and its own is a
// private copy-on-write view, so that gradients can be read there.
std::function<void()> IsolateForkedChild(std::shared_ptr<transport::UniqueFd> own_file,
                                         std::shared_ptr<ArenaMapping> own) {
  return [file = std::move(own_file), own = std::move(own)] {
    ::mmap(own->base(), static_cast<size_t>(own->bytes()), PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, file->get(), 0);
    file->reset();
  };
}

}  // namespace

Result<EngineParts> ComposeHostJob(const Topology& topology, const Config& config,
                                   ArenaMappings mappings, std::vector<transport::UniqueFd> pidfds,
                                   std::vector<transport::UniqueFd> streams, Log log) {
  EngineParts parts;
  parts.topology = topology;
  parts.coordinator = CoordinatorOptionsOf(config, topology);
  parts.log = std::move(log);
  PrepareAutotune(config, &parts);
  parts.mappings = std::move(mappings);

  const HostView view(topology, parts.mappings);
  const auto own = static_cast<size_t>(topology.rank);
  parts.heap = std::make_shared<transport::ArenaHeap>(parts.mappings[own],
                                                      view.layout(topology.rank), topology.rank);
  parts.parker = std::make_unique<transport::DoorbellParker>(&view.page(topology.rank)->doorbell);
  parts.in_a_crowd = topology.size > transport::UsableProcessors();
  parts.control = ControlChannels(view, topology);

  if (config.backend == "gloo") {
    RUEDA_RETURN_IF_ERROR(UseGloo(&parts, std::move(streams)));
  } else {
    backends::ShmGroup group = view.Group();
    group.one_shot_bytes = config.one_shot_bytes;
    parts.backend = backends::MakeShmBackend(std::move(group));
  }

  std::vector<transport::ControlPage*> pages;
  for (int rank = 0; rank < topology.size; ++rank) pages.push_back(view.page(rank));
  // In a crowd somebody always is.
  if (!parts.in_a_crowd) parts.whereabouts = view.Places();
  auto membership = transport::HostMembership::Start(topology, std::move(pages), std::move(pidfds));
  if (!membership.ok()) return membership.status();
  parts.membership = std::move(*membership);
  return parts;
}

Result<std::unique_ptr<Engine>> StartHostJob(const Topology& topology, const Config& config,
                                             JobLinks links, Log log) {
  auto mappings = MapArenas(links.arenas, topology.rank);
  if (!mappings.ok()) return mappings.status();
  const auto own = static_cast<size_t>(topology.rank);
  auto isolate = IsolateForkedChild(
      std::make_shared<transport::UniqueFd>(std::move(links.arenas[own])), (*mappings)[own]);
  auto parts = ComposeHostJob(topology, config, std::move(*mappings), std::move(links.pidfds),
                              std::move(links.streams), std::move(log));
  if (!parts.ok()) return parts.status();
  parts->hooks = std::move(links.hooks);
  parts->abandon_in_forked_child.push_back(std::move(isolate));
  return Engine::Start(std::move(*parts));
}

}  // namespace rueda::engine
