// EngineParts: everything an engine is made of. Tests hand in what they like.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "control/coordinator.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/types.h"
#include "engine/aside.h"
#include "transport/arena.h"
#include "transport/channel.h"
#include "transport/membership.h"
#include "transport/parker.h"

namespace rueda::engine {

struct EngineParts {
  Topology topology;
  control::CoordinatorOptions coordinator;  // used by rank 0 alone
  Duration linger = std::chrono::microseconds(30);

  // Destroyed last to first: mappings outlive what points into them.
  std::vector<std::shared_ptr<transport::ArenaMapping>> mappings;
  std::shared_ptr<transport::ArenaHeap> heap;  // null: no memory that peers map
  std::unique_ptr<transport::Parker> parker;
  std::unique_ptr<transport::Membership> membership;  // null: nobody watches (one rank, some tests)
  // The control road: on rank 0 the channels to the others by rank (its own is null), elsewhere one
  // channel to rank 0.
  std::vector<std::unique_ptr<transport::Channel>> control;
  // The bootstrap used the control connections before: see MessageType::kHello.
  bool control_needs_hello = false;
  std::unique_ptr<backends::Backend> backend;
  // What ranks talk about beside the agreement, one for a topic.
  std::vector<std::unique_ptr<AsideListener>> listeners;

  std::shared_ptr<const Clock> clock = std::make_shared<SteadyClock>();
  Log log = [](LogLevel, const std::string&) {};
  // What a forked child does to the inherited memory and descriptors before anything else.
  std::vector<std::function<void()>> abandon_in_forked_child;
};

}  // namespace rueda::engine
