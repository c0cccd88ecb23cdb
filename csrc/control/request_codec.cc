#include "control/request_codec.h"

#include "control/messages.h"

namespace rueda::control {
namespace {

constexpr size_t kTensorBytes = 4 + 1 + 4;  // when name and shape are empty

void Write(Writer& writer, const TensorSpec& tensor) {
  writer.String(tensor.name);
  writer.U8(static_cast<uint8_t>(tensor.dtype));
  writer.I64s(tensor.shape);
}

TensorSpec ReadTensor(Reader& reader) {
  TensorSpec tensor;
  tensor.name = reader.String(kMaxNameBytes);
  tensor.dtype = static_cast<DType>(reader.U8());
  tensor.shape = reader.I64s(0, kMaxDimensions);
  return tensor;
}

}  // namespace

void Write(Writer& writer, const Request& request) {
  writer.U8(static_cast<uint8_t>(request.kind));
  writer.U8(static_cast<uint8_t>(request.op));
  writer.U8(request.transient ? 1 : 0);
  writer.I32(request.root);
  writer.F64(request.prescale);
  writer.F64(request.postscale);
  writer.U32(request.process_set);
  writer.I32(request.priority);
  writer.I64(request.placement);
  writer.String(request.name);
  writer.I64s(request.parts);
  writer.U32(static_cast<uint32_t>(request.tensors.size()));
  for (const TensorSpec& tensor : request.tensors) Write(writer, tensor);
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
  request.priority = reader.I32();
  request.placement = reader.I64();
  request.name = reader.String(kMaxNameBytes);
  request.parts = reader.I64s(0);
  const uint32_t tensors = reader.Count(kMaxTensorsPerRequest, kTensorBytes);
  request.tensors.reserve(tensors);
  for (uint32_t i = 0; i < tensors; ++i) request.tensors.push_back(ReadTensor(reader));
  if (!reader.ok()) return request;
  const Status status = CheckRequest(request);
  reader.Require(status.ok(), status.message());
  return request;
}

size_t EncodedBytes(const Request& request) {
  size_t bytes = kLeastRequestBytes + request.name.size() + sizeof(int64_t) * request.parts.size();
  for (const TensorSpec& tensor : request.tensors) {
    bytes += kTensorBytes + tensor.name.size() + sizeof(int64_t) * tensor.shape.size();
  }
  return bytes;
}

}  // namespace rueda::control
