// Encode and DecodeBatch: a batch as bytes. Format: docs/wire-format.md, "Control messages".
#include <algorithm>
#include <utility>

#include "control/message_header.h"
#include "control/messages.h"
#include "control/request_codec.h"
#include "control/slot_set.h"
#include "control/wire.h"
#include "control/words.h"

namespace rueda::control {
namespace {

constexpr uint8_t kLeaves = 1;

}  // namespace

std::vector<uint8_t> Encode(const Batch& batch) {
  Writer writer;
  WriteHeader(writer, MessageKind::kBatch);
  writer.U8(batch.leave_reason ? kLeaves : 0);
  std::vector<uint32_t> slots = batch.slots;
  if (!std::is_sorted(slots.begin(), slots.end())) std::sort(slots.begin(), slots.end());
  WriteSlots(writer, slots);
  writer.U32(static_cast<uint32_t>(batch.requests.size()));
  for (const Request& request : batch.requests) Write(writer, request);
  if (batch.leave_reason) writer.String(Clip(*batch.leave_reason, kMaxTextBytes));
  return writer.Take();
}

Result<Batch> DecodeBatch(const uint8_t* data, size_t bytes) {
  Reader reader(data, bytes);
  ReadHeader(reader, MessageKind::kBatch);
  Batch batch;
  const uint8_t flags = reader.U8();
  reader.Require(flags <= kLeaves, "a flag is not as it should be written");
  batch.slots = ReadSlots(reader);
  const uint32_t requests = reader.Count(kMaxMessageBytes, kLeastRequestBytes);
  for (uint32_t i = 0; i < requests && reader.ok(); ++i) {
    batch.requests.push_back(ReadRequest(reader));
  }
  if (flags == kLeaves) batch.leave_reason = reader.String(kMaxTextBytes);
  RUEDA_RETURN_IF_ERROR(reader.Finish("a batch of offers"));
  return batch;
}

}  // namespace rueda::control
