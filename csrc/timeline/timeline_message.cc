#include "timeline/timeline_message.h"

#include "control/wire.h"
#include "timeline/chunk.h"

namespace rueda::timeline {
namespace {

enum : uint8_t { kStart = 1, kStop = 2, kAskTime = 3, kTellTime = 4, kSpans = 5, kEnd = 6 };

void Put(control::Writer& to, const StartMessage& message) {
  to.U8(kStart);
  to.U32(message.session);
  to.U8(message.mark_frames ? 1 : 0);
}
void Put(control::Writer& to, const StopMessage& message) {
  to.U8(kStop);
  to.U32(message.session);
}
void Put(control::Writer& to, const AskTimeMessage& message) {
  to.U8(kAskTime);
  to.I64(message.asked);
}
void Put(control::Writer& to, const TellTimeMessage& message) {
  to.U8(kTellTime);
  to.I64(message.exchange.asked);
  to.I64(message.exchange.heard);
  to.I64(message.exchange.answered);
}
void Put(control::Writer& to, const SpansMessage& message) {
  to.U8(kSpans);
  to.U32(message.session);
  to.Bytes(message.chunk);
}
void Put(control::Writer& to, const EndMessage& message) {
  to.U8(kEnd);
  to.U32(message.session);
  to.U64(message.dropped);
}

// So that differences of times do not overflow.
int64_t ReadTime(control::Reader& reader) {
  const int64_t time = reader.I64();
  reader.Require(time >= 0 && time <= int64_t{1} << 61, "a time is out of range");
  return reader.ok() ? time : 0;
}

StartMessage ReadStart(control::Reader& reader) {
  StartMessage message;
  message.session = reader.U32();
  const uint8_t mark = reader.U8();
  reader.Require(mark <= 1, "a flag is neither 0 nor 1");
  message.mark_frames = mark == 1;
  return message;
}

TellTimeMessage ReadTellTime(control::Reader& reader) {
  TellTimeMessage message;
  message.exchange.asked = ReadTime(reader);
  message.exchange.heard = ReadTime(reader);
  message.exchange.answered = ReadTime(reader);
  return message;
}

SpansMessage ReadSpans(control::Reader& reader) {
  SpansMessage message;
  message.session = reader.U32();
  reader.Require(reader.remaining() <= kMaxChunkBytes, "a chunk is too long");
  const std::span<const uint8_t> bytes = reader.Bytes(reader.ok() ? reader.remaining() : 0);
  message.chunk.assign(bytes.begin(), bytes.end());
  return message;
}

EndMessage ReadEnd(control::Reader& reader) {
  EndMessage message;
  message.session = reader.U32();
  message.dropped = reader.U64();
  return message;
}

TimelineMessage ReadMessage(control::Reader& reader) {
  switch (reader.U8()) {
    case kStart:
      return ReadStart(reader);
    case kStop:
      return StopMessage{reader.U32()};
    case kAskTime:
      return AskTimeMessage{ReadTime(reader)};
    case kTellTime:
      return ReadTellTime(reader);
    case kSpans:
      return ReadSpans(reader);
    case kEnd:
      return ReadEnd(reader);
    default:
      reader.Fail("an unknown kind of message");
      return StopMessage{};
  }
}

}  // namespace

std::vector<uint8_t> Encode(const TimelineMessage& message) {
  control::Writer writer;
  std::visit([&](const auto& one) { Put(writer, one); }, message);
  return writer.Take();
}

Result<TimelineMessage> DecodeTimelineMessage(std::span<const uint8_t> body) {
  control::Reader reader(body.data(), body.size());
  TimelineMessage message = ReadMessage(reader);
  RUEDA_RETURN_IF_ERROR(reader.Finish("a message about the timeline"));
  return message;
}

}  // namespace rueda::timeline
