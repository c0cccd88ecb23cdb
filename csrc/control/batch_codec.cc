// Encode and DecodeBatch: a batch as bytes. Format: docs/wire-format.md, "Control messages".
#include <algorithm>
#include <utility>

#include "control/message_header.h"
#include "control/messages.h"
#include "control/slot_set.h"
#include "control/wire.h"
#include "control/words.h"

namespace rueda::control {
namespace {

constexpr uint8_t kLeaves = 1;
// Sizes of the fixed parts: what a request and a tensor take when names and shape are empty.
constexpr size_t kRequestBytes = 1 + 1 + 1 + 4 + 8 + 8 + 4 + 8 + 4 + 4;
constexpr size_t kTensorBytes = 4 + 1 + 4;

void Write(Writer& writer, const TensorSpec& tensor) {
  writer.String(tensor.name);
  writer.U8(static_cast<uint8_t>(tensor.dtype));
  writer.I64s(tensor.shape);
}

void Write(Writer& writer, const Request& request) {
  writer.U8(static_cast<uint8_t>(request.kind));
  writer.U8(static_cast<uint8_t>(request.op));
  writer.U8(request.transient ? 1 : 0);
  writer.I32(request.root);
  writer.F64(request.prescale);
  writer.F64(request.postscale);
  writer.U32(request.process_set);
  writer.I64(request.placement);
  writer.String(request.name);
  writer.U32(static_cast<uint32_t>(request.tensors.size()));
  for (const TensorSpec& tensor : request.tensors) Write(writer, tensor);
}

TensorSpec ReadTensor(Reader& reader) {
  TensorSpec tensor;
  tensor.name = reader.String(kMaxNameBytes);
  tensor.dtype = static_cast<DType>(reader.U8());
  tensor.shape = reader.I64s(0, kMaxDimensions);
  return tensor;
}

Request ReadRequest(Reader& reader) {
  Request request;
  request.kind = static_cast<OpKind>(reader.U8());
  request.op = static_cast<ReduceOp>(reader.U8());
  const uint8_t transient = reader.U8();
  reader.Require(transient <= 1, "a flag is not as it should be written");
  request.transient = transient != 0;
  request.root = reader.I32();
  request.prescale = reader.F64();
  request.postscale = reader.F64();
  request.process_set = reader.U32();
  request.placement = reader.I64();
  request.name = reader.String(kMaxNameBytes);
  const uint32_t tensors = reader.Count(kMaxTensorsPerRequest, kTensorBytes);
  request.tensors.reserve(tensors);
  for (uint32_t i = 0; i < tensors; ++i) request.tensors.push_back(ReadTensor(reader));
  if (!reader.ok()) return request;
  const Status status = CheckRequest(request);
  reader.Require(status.ok(), status.message());
  return request;
}

}  // namespace

size_t EncodedBytes(const Request& request) {
  size_t bytes = kRequestBytes + request.name.size();
  for (const TensorSpec& tensor : request.tensors) {
    bytes += kTensorBytes + tensor.name.size() + sizeof(int64_t) * tensor.shape.size();
  }
  return bytes;
}

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
  const uint32_t requests = reader.Count(kMaxMessageBytes, kRequestBytes);
  for (uint32_t i = 0; i < requests && reader.ok(); ++i) {
    batch.requests.push_back(ReadRequest(reader));
  }
  if (flags == kLeaves) batch.leave_reason = reader.String(kMaxTextBytes);
  RUEDA_RETURN_IF_ERROR(reader.Finish("a batch of offers"));
  return batch;
}

}  // namespace rueda::control
