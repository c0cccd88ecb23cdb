// Encode, DecodeBatch and DecodeShares: batches as bytes. Format: docs/wire-format.md, "Control
// messages".
#include <algorithm>
#include <utility>

#include "control/message_header.h"
#include "control/messages.h"
#include "control/request_codec.h"
#include "control/request_memo.h"
#include "control/share.h"
#include "control/slot_set.h"
#include "control/wire.h"
#include "control/words.h"

namespace rueda::control {
namespace {

constexpr uint8_t kLeaves = 1;
// Ranks mostly offer the same, or two or three sorts of the same.
constexpr uint32_t kUsualShares = 4;
constexpr size_t kLeastSetBytes = 1 + 4;
constexpr size_t kLeastShareBytes = kLeastSetBytes + 1 + kLeastSetBytes + 4;

void Write(Writer& writer, const Batch& batch) {
  writer.U8(batch.leave_reason ? kLeaves : 0);
  WriteSlots(writer, batch.slots);
  writer.U32(static_cast<uint32_t>(batch.requests.size()));
  for (const SharedRequest& request : batch.requests) Write(writer, *request);
  if (batch.leave_reason) writer.String(Clip(*batch.leave_reason, kMaxTextBytes));
}

// Into a batch that is empty.
void Read(Reader& reader, RequestMemo* memo, Batch* batch) {
  const uint8_t flags = reader.U8();
  reader.Require(flags <= kLeaves, "a flag is not as it should be written");
  ReadSlots(reader, &batch->slots);
  const uint32_t requests = reader.Count(kMaxMessageBytes, kLeastRequestBytes);
  RequestMemo none;
  (memo != nullptr ? *memo : none).Read(reader, requests, &batch->requests);
  if (flags == kLeaves) batch->leave_reason = reader.String(kMaxTextBytes);
}

}  // namespace

void Batch::Clear() {
  slots.Clear();
  requests.clear();
  leave_reason.reset();
}

void Encode(const Batch& batch, std::vector<uint8_t>* bytes) {
  Writer writer(std::move(*bytes));
  WriteHeader(writer, MessageKind::kBatch);
  Write(writer, batch);
  *bytes = writer.Take();
}

Status DecodeBatch(std::span<const uint8_t> bytes, Batch* batch, RequestMemo* memo) {
  batch->Clear();
  Reader reader(bytes.data(), bytes.size());
  ReadHeader(reader, MessageKind::kBatch);
  Read(reader, memo, batch);
  return reader.Finish("a batch of offers");
}

std::vector<uint8_t> Encode(const Shares& shares) {
  Writer writer;
  WriteHeader(writer, MessageKind::kShares);
  writer.U32(static_cast<uint32_t>(shares.size()));
  for (const Share& share : shares) {
    WriteSlots(writer, share.ranks);
    Write(writer, share.batch);
  }
  return writer.Take();
}

Result<Shares> DecodeShares(std::span<const uint8_t> bytes, RequestMemo* memo) {
  Reader reader(bytes.data(), bytes.size());
  ReadHeader(reader, MessageKind::kShares);
  const uint32_t count = reader.Count(kMaxMessageBytes, kLeastShareBytes);
  Shares shares;
  shares.reserve(std::min(count, kUsualShares));
  for (uint32_t i = 0; i < count && reader.ok(); ++i) {
    Share& share = shares.emplace_back();
    ReadSlots(reader, &share.ranks);
    reader.Require(!share.ranks.empty(), "a share is of no rank");
    Read(reader, memo, &share.batch);
  }
  RUEDA_RETURN_IF_ERROR(reader.Finish("what a relay gathered"));
  return shares;
}

std::vector<uint8_t> Encode(const Batch& batch) {
  std::vector<uint8_t> bytes;
  Encode(batch, &bytes);
  return bytes;
}

Result<Batch> DecodeBatch(const uint8_t* data, size_t bytes) {
  Batch batch;
  RUEDA_RETURN_IF_ERROR(DecodeBatch({data, bytes}, &batch));
  return batch;
}

}  // namespace rueda::control
