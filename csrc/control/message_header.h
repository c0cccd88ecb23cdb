// The two bytes before every control message: what it is, and which version of the format.
#pragma once

#include <cstdint>

#include "control/messages.h"
#include "control/wire.h"

namespace rueda::control {

enum class MessageKind : uint8_t { kBatch = 1, kFrame = 2, kShares = 3 };
inline constexpr uint8_t kFormatVersion = 5;

inline void WriteHeader(Writer& writer, MessageKind kind) {
  writer.U8(static_cast<uint8_t>(kind));
  writer.U8(kFormatVersion);
}

inline void ReadHeader(Reader& reader, MessageKind kind) {
  reader.Require(reader.remaining() <= kMaxMessageBytes, "it is too long");
  reader.Require(reader.U8() == static_cast<uint8_t>(kind), "it is another kind of message");
  reader.Require(reader.U8() == kFormatVersion, "its format has another version");
}

}  // namespace rueda::control
