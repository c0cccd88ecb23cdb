// EngineParts: everything an engine is made of. Tests hand in what they like.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "control/coordinator.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/types.h"
#include "engine/aside.h"
#include "engine/autotuner.h"
#include "engine/launcher_notices.h"
#include "transport/arena.h"
#include "transport/channel.h"
#include "transport/membership.h"
#include "transport/parker.h"
#include "transport/whereabouts.h"

namespace rueda::engine {

// What an engine knows of the process around it. Any of them may be null.
struct Hooks {
  // What the program of this rank is doing, in words (control/rank_account.h, ProgramAnswer).
  // Called on a thread of its own; may block for ever.
  std::function<std::string()> describe_program;
  TellLauncher tell_launcher;
};

struct EngineParts {
  Topology topology;
  // Used by rank 0, but for the linger, which holds on every rank until its first frame.
  control::CoordinatorOptions coordinator;
  // Rank 0's search for better limits; none: they stay.
  std::optional<AutotunerOptions> autotune;

  // Destroyed last to first: mappings outlive what points into them.
  std::vector<std::shared_ptr<transport::ArenaMapping>> mappings;
  std::shared_ptr<transport::ArenaHeap> heap;  // null: no memory that peers map
  std::unique_ptr<transport::Parker> parker;
  // The ranks of this host outnumber its processors: who waits makes room at once.
  bool in_a_crowd = false;
  transport::Whereabouts whereabouts;
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
  Hooks hooks;
  // What a forked child does to the inherited memory and descriptors before anything else.
  std::vector<std::function<void()>> abandon_in_forked_child;
};

}  // namespace rueda::engine
