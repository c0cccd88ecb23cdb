// TimelineMessage: what rank 0 and the others tell each other about a timeline, as bodies of
// asides.
//
// Rank 0 starts and stops; the others answer questions about the time, pass their spans on and say
// when they have passed on everything. docs/wire-format.md has the bytes.
#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "core/status.h"
#include "timeline/clock_offset.h"

namespace rueda::timeline {

// To the others: record from now on. Sessions of one epoch have numbers, so that late spans of one
// do not end in the file of the next.
struct StartMessage {
  uint32_t session = 0;
  bool mark_frames = false;
};
// To the others: pass on what is left, and say so.
struct StopMessage {
  uint32_t session = 0;
};
// To the others: what time is it? `asked` comes back with the answer.
struct AskTimeMessage {
  int64_t asked = 0;
};
// To rank 0; `received` is not known yet.
struct TellTimeMessage {
  ClockExchange exchange;
};
// To rank 0: a chunk, as it was recorded.
struct SpansMessage {
  uint32_t session = 0;
  std::vector<uint8_t> chunk;
};
// To rank 0: that was all; how many spans had found no room.
struct EndMessage {
  uint32_t session = 0;
  uint64_t dropped = 0;
};

using TimelineMessage = std::variant<StartMessage, StopMessage, AskTimeMessage, TellTimeMessage,
                                     SpansMessage, EndMessage>;

std::vector<uint8_t> Encode(const TimelineMessage& message);
// kCorrupt for what Encode does not produce. A chunk's spans are not looked at.
Result<TimelineMessage> DecodeTimelineMessage(std::span<const uint8_t> body);

}  // namespace rueda::timeline
