// CheckRequest: whether a request keeps the bounds of the control messages and of memory.
#include <algorithm>
#include <limits>
#include <string>

#include "control/messages.h"
#include "control/words.h"

namespace rueda::control {
namespace {

Status Refuse(const Request& request, const std::string& why) {
  return {StatusCode::kInvalidArgument, Subject(request.kind, request.name) + " " + why};
}

// Bytes of the tensor with empty dimensions counted as one, so that no product over some of its
// dimensions overflows either; -1 if they are more than an int64 holds.
int64_t CheckedBytes(const TensorSpec& tensor) {
  auto bytes = static_cast<int64_t>(SizeOf(tensor.dtype));
  for (const int64_t dimension : tensor.shape) {
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(dimension, 1), &bytes)) return -1;
  }
  return bytes;
}

std::string ReductionProblem(const Request& request, DType dtype) {
  if (!Reduces(request.kind) || IsReducible(dtype)) return {};
  const std::string what = "has the dtype " + std::string(NameOf(dtype));
  if (!IsComplex(dtype)) return what + ", which can be moved but not reduced. Convert it first";
  if (request.op == ReduceOp::kSum || request.op == ReduceOp::kAverage) return {};
  return what + ", which has Sum and Average but no " + std::string(NameOf(request.op));
}

std::string TensorProblem(const TensorSpec& tensor) {
  if (tensor.name.size() > kMaxNameBytes) return "is named in too many bytes; 4096 are allowed";
  if (!IsValid(tensor.dtype)) return "has an unknown dtype";
  if (tensor.shape.size() > kMaxDimensions) return "has more than 64 dimensions";
  for (const int64_t dimension : tensor.shape) {
    if (dimension < 0) return "has the negative dimension " + std::to_string(dimension);
  }
  if (CheckedBytes(tensor) < 0) return "has the shape " + ShapeText(tensor.shape) + ", too large";
  return {};
}

// Whether the whole span, from the arena's start, fits an int64. Its tensors have been checked.
bool SpanFits(const Request& request) {
  int64_t bytes = std::max<int64_t>(request.placement, 0);
  for (const TensorSpec& tensor : request.tensors) {
    if (__builtin_add_overflow(bytes, CheckedBytes(tensor), &bytes)) return false;
    if (__builtin_add_overflow(bytes, kLayoutAlignment, &bytes)) return false;
  }
  return true;
}

}  // namespace

Status CheckRequest(const Request& request) {
  if (request.name.size() > kMaxNameBytes) {
    return Refuse(request, "has a name of " + std::to_string(request.name.size()) +
                               " bytes; at most " + std::to_string(kMaxNameBytes) +
                               " are allowed. Give it a shorter name.");
  }
  if (request.tensors.size() > kMaxTensorsPerRequest) {
    return Refuse(request, "has " + std::to_string(request.tensors.size()) + " tensors; at most " +
                               std::to_string(kMaxTensorsPerRequest) +
                               " are allowed. Split the group.");
  }
  if (static_cast<int>(request.kind) >= kOpKindCount || !IsValid(request.op)) {
    return Refuse(request, "has an unknown operation or op.");
  }
  for (const int64_t part : request.parts) {
    if (part < 0) return Refuse(request, "has the negative part " + std::to_string(part) + ".");
  }
  if (request.placement < kPrivate) return Refuse(request, "is placed before its arena.");
  for (const TensorSpec& tensor : request.tensors) {
    std::string problem = TensorProblem(tensor);
    if (problem.empty()) problem = ReductionProblem(request, tensor.dtype);
    if (!problem.empty()) {
      return Refuse(request,
                    "cannot be offered: tensor " + Quote(tensor.name) + " " + problem + ".");
    }
  }
  if (!SpanFits(request)) return Refuse(request, "is larger than memory can be.");
  if (EncodedBytes(request) > kMaxRequestBytes) {
    return Refuse(request, "takes too many bytes to describe. Split the group.");
  }
  return Status::Ok();
}

}  // namespace rueda::control
