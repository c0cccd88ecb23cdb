// Aside: what ranks tell each other beside the agreement, such as traces and questions about
// stalls.
//
// Asides share the control road with offers and frames and never delay them: each is small, and one
// is told only when nothing else waits for the channel. They may be lost when a rank leaves or
// dies; nothing that is agreed depends on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/clock.h"
#include "core/status.h"

namespace rueda::engine {

class ControlRoad;

enum class AsideTopic : uint8_t { kStall = 1, kTimeline = 2 };
inline constexpr size_t kMaxAsideBytes = 16384;  // of a body

struct Aside {
  AsideTopic topic = AsideTopic::kStall;
  int rank = 0;  // to whom, when it is told; from whom, when it is taken
  std::vector<uint8_t> body;
};

// The payload of MessageType::kAside. kCorrupt for an unknown topic or a body that is too long.
std::vector<uint8_t> EncodeAside(const Aside& aside);
Result<Aside> DecodeAside(std::span<const uint8_t> payload, int from);

// One topic's business on one rank. The engine thread's; nothing here may block.
class AsideListener {
 public:
  virtual ~AsideListener() = default;

  virtual AsideTopic topic() const = 0;

  // An aside of this topic has come. An error ends the epoch.
  virtual Status Hear(const Aside& aside) = 0;

  // Does and tells what is due; true if anything was. An error ends the epoch.
  virtual Result<bool> Step(ControlRoad* road) = 0;

  // When Step has something to do even if nothing arrives.
  virtual TimePoint NextDeadline() const { return kNever; }

  // Asked again and again, Step between, while this rank is about to leave in order: it leaves once
  // all listeners are ready. A listener bounds that time itself.
  virtual bool ReadyToLeave() { return true; }
};

}  // namespace rueda::engine
