// ThreadJob: a whole job in one process: every rank an engine of its own, over arenas that all map.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "deadline.h"
#include "engine/host_job.h"
#include "transport/host_membership.h"

namespace rueda::testing {

inline constexpr int64_t kTestArenaBytes = int64_t{256} << 20;

// As messages name a rank of a ThreadJob. The pid is that of the process, which they are threads
// of.
inline std::string RankName(int rank) {
  return "rank " + std::to_string(rank) + " (pid " + std::to_string(::getpid()) + " on testhost)";
}

class ThreadJob {
 public:
  // Changes the parts of a rank's engine before it starts.
  using Adjust = std::function<void(int rank, engine::EngineParts& parts)>;

  explicit ThreadJob(int size, const Config& config = {}, const Adjust& adjust = nullptr)
      : deadline_("a job of " + std::to_string(size) + " ranks") {
    const Arenas arenas = MapArenas(size);
    auto streams = StreamsBetween(size);
    for (int rank = 0; rank < size; ++rank) {
      const auto index = static_cast<size_t>(rank);
      Topology topology{rank, size, rank, size, 0, 1, {}};
      for (int other = 0; other < size; ++other) {
        topology.peers.push_back({"testhost", ::getpid()});
      }
      auto parts =
          engine::ComposeHostJob(topology, config, arenas.mappings[index], {},
                                 std::move(streams[index]), [](LogLevel, const std::string&) {})
              .value();
      memberships_.push_back(static_cast<transport::HostMembership*>(parts.membership.get()));
      if (kSharedMappings) {
        parts.heap = std::make_shared<transport::ArenaHeap>(
            arenas.apart[index], transport::ArenaLayout::For(rank, size, kTestArenaBytes), rank);
      }
      if (adjust) adjust(rank, parts);
      engines_.push_back(engine::Engine::Start(std::move(parts)));
    }
  }
  ~ThreadJob() { StopAll(); }
  ThreadJob(const ThreadJob&) = delete;
  ThreadJob& operator=(const ThreadJob&) = delete;

  int size() const { return static_cast<int>(engines_.size()); }
  engine::Engine& engine(int rank) { return *engines_[static_cast<size_t>(rank)]; }

  // Tells all others that the process of `rank` has ended, as their pidfds would. Before any of
  // them is stopped.
  void TellOfDeath(int rank) {
    for (int other = 0; other < size(); ++other) {
      if (other != rank) memberships_[static_cast<size_t>(other)]->PeerExited(rank);
    }
  }

  // Runs `body` for every rank on a thread of its own; returns what they returned, by rank. Bodies
  // do not assert (Catch2 2.13 is not thread-safe).
  template <typename Body>
  auto ForEachRank(Body body) {
    using Value = decltype(body(0));
    std::vector<std::future<Value>> running;
    for (int rank = 0; rank < size(); ++rank) {
      running.push_back(std::async(std::launch::async, body, rank));
    }
    std::vector<Value> values;
    for (auto& one : running) values.push_back(one.get());
    return values;
  }

  void StopAll() {
    ForEachRank([this](int rank) {
      engine(rank).Stop();
      return 0;
    });
  }

 private:
  // Each rank maps every arena for itself, as processes do. ThreadSanitizer takes one file mapped
  // twice for different memory, so there all share one mapping; only the heaps have mappings of
  // their own, because the end of a rank replaces what its heap maps under the others.
#if defined(__SANITIZE_THREAD__)
  static constexpr bool kSharedMappings = true;
#else
  static constexpr bool kSharedMappings = false;
#endif

  struct Arenas {
    std::vector<engine::ArenaMappings> mappings;  // by rank that maps, then by owner
    engine::ArenaMappings apart;                  // by owner
  };

  static Arenas MapArenas(int size) {
    const auto count = static_cast<size_t>(size);
    Arenas arenas;
    arenas.mappings.resize(count);
    for (size_t owner = 0; owner < count; ++owner) {
      const transport::UniqueFd file = transport::CreateArenaFile(kTestArenaBytes).value();
      for (size_t rank = 0; rank < count; ++rank) {
        const bool reuse = kSharedMappings && rank > 0;
        arenas.mappings[rank].push_back(reuse ? arenas.mappings[0][owner]
                                              : transport::ArenaMapping::Map(file).value());
      }
      if (kSharedMappings) arenas.apart.push_back(transport::ArenaMapping::Map(file).value());
    }
    return arenas;
  }

  static std::vector<std::vector<transport::UniqueFd>> StreamsBetween(int size) {
    const auto count = static_cast<size_t>(size);
    std::vector<std::vector<transport::UniqueFd>> streams(count);
    for (auto& row : streams) row.resize(count);
    for (size_t a = 0; a < count; ++a) {
      for (size_t b = a + 1; b < count; ++b) {
        int ends[2] = {-1, -1};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) continue;
        streams[a][b].reset(ends[0]);
        streams[b][a].reset(ends[1]);
      }
    }
    return streams;
  }

  Deadline deadline_;  // first, so that it outlasts everything that could hang
  std::vector<transport::HostMembership*> memberships_;  // the engines'
  std::vector<std::unique_ptr<engine::Engine>> engines_;
};

// A request for one flat tensor.
inline std::shared_ptr<control::Request> RequestFor(const std::string& name, int64_t count,
                                                    DType dtype = DType::kFloat32,
                                                    OpKind kind = OpKind::kAllreduce) {
  auto request = std::make_shared<control::Request>();
  request->kind = kind;
  request->name = name;
  request->tensors = {{name, dtype, {count}}};
  return request;
}

inline std::shared_ptr<control::Request> BarrierRequest(const std::string& name) {
  auto request = RequestFor(name, 0, DType::kUInt8, OpKind::kBarrier);
  request->tensors.clear();
  return request;
}

// Submits one tensor in place.
template <typename T>
Result<engine::TicketPtr> SubmitInPlace(engine::Engine& engine,
                                        std::shared_ptr<const control::Request> request,
                                        std::vector<T>* values, bool urgent = true) {
  const TensorView view{values->data(), static_cast<int64_t>(values->size()),
                        request->tensors.front().dtype};
  return engine.Submit({std::move(request), {{view}, {view}}, nullptr, urgent});
}

// The status a submission ended with, waited for.
inline Status Finish(engine::Engine& engine, const Result<engine::TicketPtr>& ticket) {
  if (!ticket.ok()) return ticket.status();
  engine.Wait(*ticket);
  return (*ticket)->status();
}

// Submits one tensor in place and waits: the status it completed with.
template <typename T>
Status ReduceInPlace(engine::Engine& engine, std::shared_ptr<const control::Request> request,
                     std::vector<T>* values) {
  return Finish(engine, SubmitInPlace(engine, std::move(request), values));
}

inline Status WaitAtBarrier(engine::Engine& engine, const std::string& name) {
  return Finish(engine, engine.Submit({BarrierRequest(name), {}, nullptr, true}));
}

}  // namespace rueda::testing
