// ShmWorld: the shm backends of a job whose ranks are threads over one set of arenas.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "backend_world.h"
#include "backends/shm/shm_backend.h"
#include "transport/arena.h"
#include "transport/control_page.h"

namespace rueda::testing {

// The arenas of all ranks, and what a backend sees of them.
class ShmArenas {
 public:
  explicit ShmArenas(int size, int64_t bytes = int64_t{64} << 20) : bytes_(bytes) {
    for (int rank = 0; rank < size; ++rank) {
      const transport::UniqueFd file = transport::CreateArenaFile(bytes).value();
      mappings_.push_back(transport::ArenaMapping::Map(file).value());
      heaps_.push_back(
          std::make_shared<transport::ArenaHeap>(mappings_.back(), LayoutOf(rank, size), rank));
    }
  }

  int size() const { return static_cast<int>(mappings_.size()); }
  transport::Doorbell& doorbell(int rank) const {
    return reinterpret_cast<transport::ControlPage*>(base(rank))->doorbell;
  }

  backends::ShmGroup GroupOf(int rank) const {
    backends::ShmGroup group;
    group.index = rank;
    group.staging_bytes = transport::kStagingSlots * transport::kStagingChunkBytes;
    group.one_shot_bytes = kMostOneShotBytes;
    for (int other = 0; other < size(); ++other) {
      const auto layout = LayoutOf(other, size());
      group.members.push_back(
          {base(other), base(other) + layout.staging,
           reinterpret_cast<backends::ShmCounters*>(base(other) + layout.flags), &doorbell(other),
           reinterpret_cast<backends::OneShotMemory*>(base(other) + layout.one_shot)});
    }
    return group;
  }

  PlacedMemory Place(int rank, int64_t bytes) const {
    auto buffer = heaps_[static_cast<size_t>(rank)]->Allocate(bytes).value();
    return {{buffer, buffer->data()}, buffer->offset()};
  }

  // Steps a run to its end, asleep on this rank's doorbell while it waits.
  Status Drive(int rank, backends::Run& run, TimePoint deadline) const {
    while (true) {
      const uint32_t seen = doorbell(rank).Prepare();
      const Result<backends::Progress> progress = run.Step();
      if (!progress.ok()) return progress.status();
      if (*progress == backends::Progress::kDone) return Status::Ok();
      if (*progress == backends::Progress::kMoved) continue;
      if (SteadyClock().Now() >= deadline) return {StatusCode::kTimedOut, "the test lost patience"};
      doorbell(rank).Sleep(seen, deadline);
    }
  }

 private:
  uint8_t* base(int rank) const { return mappings_[static_cast<size_t>(rank)]->base(); }
  transport::ArenaLayout LayoutOf(int rank, int size) const {
    return transport::ArenaLayout::For(rank, size, bytes_);
  }

  int64_t bytes_;
  std::vector<std::shared_ptr<transport::ArenaMapping>> mappings_;
  std::vector<std::shared_ptr<transport::ArenaHeap>> heaps_;
};

// A rank's doorbell, which peers and aborts ring.
class DoorbellAlarm final : public Alarm {
 public:
  DoorbellAlarm(std::shared_ptr<const ShmArenas> arenas, int rank)
      : arenas_(std::move(arenas)), doorbell_(arenas_->doorbell(rank)) {}

  void Ring() override { doorbell_.Ring(); }
  uint64_t rings() override { return doorbell_.Prepare(); }
  bool WaitPast(uint64_t seen, TimePoint deadline) override {
    doorbell_.Sleep(static_cast<uint32_t>(seen), deadline);
    return SteadyClock().Now() < deadline;
  }

 private:
  std::shared_ptr<const ShmArenas> arenas_;  // has the doorbell
  transport::Doorbell& doorbell_;
};

inline BackendWorld ShmWorld(int size) {
  // Room for several process sets; only what is touched costs anything.
  auto arenas = std::make_shared<const ShmArenas>(size, int64_t{256} << 20);
  BackendWorld world;
  world.place = [arenas](int rank, int64_t bytes) { return arenas->Place(rank, bytes); };
  for (int rank = 0; rank < size; ++rank) {
    world.alarms.push_back(std::make_shared<DoorbellAlarm>(arenas, rank));
    world.backends.push_back(backends::MakeShmBackend(arenas->GroupOf(rank)));
  }
  return world;
}

}  // namespace rueda::testing
