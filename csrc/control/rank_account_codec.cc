// EncodeStallMessage and its decoder. Format: docs/wire-format.md, "Stall messages".
#include <algorithm>
#include <utility>

#include "control/rank_account.h"
#include "control/wire.h"
#include "control/words.h"

namespace rueda::control {
namespace {

enum Kind : uint8_t { kQuestion = 1, kFacts = 2, kProgram = 3 };
enum Flag : uint8_t { kLeaving = 1, kProgramFollows = 2 };

void WriteText(Writer& writer, const std::string& text) {
  writer.String(Clip(text, kMaxFactBytes));
}

void Write(Writer& writer, const StallQuestion& question) {
  writer.U8(kQuestion);
  writer.U32(question.number);
}

void Write(Writer& writer, const FactsAnswer& answer) {
  const RankFacts& facts = answer.facts;
  writer.U8(kFacts);
  writer.U32(answer.number);
  writer.I64(facts.finished);
  WriteText(writer, facts.last);
  writer.I64(facts.last_ago.count());
  WriteText(writer, facts.running);
  writer.I64(facts.running_for.count());
  const size_t waited = std::min(facts.waits_for.size(), kMaxWaitsFor);
  writer.U32(static_cast<uint32_t>(waited));
  for (size_t i = 0; i < waited; ++i) writer.I32(facts.waits_for[i]);
  const size_t named = std::min(facts.in_flight.size(), kMaxFactsInFlight);
  writer.U32(static_cast<uint32_t>(named));
  for (size_t i = 0; i < named; ++i) WriteText(writer, facts.in_flight[i]);
  writer.U32(facts.in_flight_count);
  writer.U8(static_cast<uint8_t>(facts.main_thread));
  writer.U8(static_cast<uint8_t>((facts.leaving ? kLeaving : 0) |
                                 (facts.program_follows ? kProgramFollows : 0)));
}

void Write(Writer& writer, const ProgramAnswer& answer) {
  writer.U8(kProgram);
  writer.U32(answer.number);
  writer.String(Clip(answer.text, kMaxProgramBytes));
}

Duration ReadDuration(Reader& reader) {
  const int64_t count = reader.I64();
  reader.Require(count >= 0, "a time is negative");
  return Duration(count);
}

FactsAnswer ReadFacts(Reader& reader) {
  FactsAnswer answer;
  RankFacts& facts = answer.facts;
  answer.number = reader.U32();
  facts.finished = reader.I64();
  facts.last = reader.String(kMaxFactBytes);
  facts.last_ago = ReadDuration(reader);
  facts.running = reader.String(kMaxFactBytes);
  facts.running_for = ReadDuration(reader);
  const uint32_t waited = reader.Count(kMaxWaitsFor, sizeof(int32_t));
  for (uint32_t i = 0; i < waited; ++i) facts.waits_for.push_back(reader.I32());
  const uint32_t named = reader.Count(kMaxFactsInFlight, sizeof(uint32_t));
  for (uint32_t i = 0; i < named; ++i) facts.in_flight.push_back(reader.String(kMaxFactBytes));
  facts.in_flight_count = reader.U32();
  facts.main_thread = static_cast<char>(reader.U8());
  const uint8_t flags = reader.U8();
  reader.Require(flags <= (kLeaving | kProgramFollows), "a flag is unknown");
  facts.leaving = (flags & kLeaving) != 0;
  facts.program_follows = (flags & kProgramFollows) != 0;
  return answer;
}

StallMessage ReadMessage(Reader& reader) {
  switch (reader.U8()) {
    case kQuestion:
      return StallQuestion{reader.U32()};
    case kFacts:
      return ReadFacts(reader);
    case kProgram: {
      const uint32_t number = reader.U32();
      return ProgramAnswer{number, reader.String(kMaxProgramBytes)};
    }
    default:
      reader.Fail("it is of an unknown kind");
      return StallQuestion{};
  }
}

}  // namespace

std::vector<uint8_t> EncodeStallMessage(const StallMessage& message) {
  Writer writer;
  std::visit([&](const auto& kind) { Write(writer, kind); }, message);
  return writer.Take();
}

Result<StallMessage> DecodeStallMessage(std::span<const uint8_t> bytes) {
  Reader reader(bytes.data(), bytes.size());
  StallMessage message = ReadMessage(reader);
  RUEDA_RETURN_IF_ERROR(reader.Finish("a message of the stall report"));
  return message;
}

}  // namespace rueda::control
