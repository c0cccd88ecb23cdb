#include "torch/tensor_bridge.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace rueda::pytorch {
namespace {

// The bytes of one tensor, and what CheckDisjoint says about them.
struct Span {
  const uint8_t* begin;
  const uint8_t* end;
  size_t tensor;
  bool written;
};

void AppendSpan(const TensorView& view, size_t tensor, bool written, std::vector<Span>* spans) {
  if (view.count == 0) return;
  const auto* begin = static_cast<const uint8_t*>(view.data);
  spans->push_back({begin, begin + view.bytes(), tensor, written});
}

}  // namespace

std::optional<DType> DTypeOf(at::ScalarType type) {
  switch (type) {
    case at::ScalarType::Byte:
      return DType::kUInt8;
    case at::ScalarType::Char:
      return DType::kInt8;
    case at::ScalarType::Short:
      return DType::kInt16;
    case at::ScalarType::Int:
      return DType::kInt32;
    case at::ScalarType::Long:
      return DType::kInt64;
    case at::ScalarType::Half:
      return DType::kFloat16;
    case at::ScalarType::BFloat16:
      return DType::kBFloat16;
    case at::ScalarType::Float:
      return DType::kFloat32;
    case at::ScalarType::Double:
      return DType::kFloat64;
    case at::ScalarType::Bool:
      return DType::kBool;
    case at::ScalarType::UInt16:
      return DType::kUInt16;
    case at::ScalarType::UInt32:
      return DType::kUInt32;
    case at::ScalarType::UInt64:
      return DType::kUInt64;
    case at::ScalarType::ComplexFloat:
      return DType::kComplex64;
    case at::ScalarType::ComplexDouble:
      return DType::kComplex128;
    case at::ScalarType::Float8_e4m3fn:
      return DType::kFloat8E4M3FN;
    case at::ScalarType::Float8_e5m2:
      return DType::kFloat8E5M2;
    case at::ScalarType::Float8_e4m3fnuz:
      return DType::kFloat8E4M3FNUZ;
    case at::ScalarType::Float8_e5m2fnuz:
      return DType::kFloat8E5M2FNUZ;
    default:
      return std::nullopt;
  }
}

at::ScalarType ScalarTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kUInt8:
      return at::ScalarType::Byte;
    case DType::kInt8:
      return at::ScalarType::Char;
    case DType::kInt16:
      return at::ScalarType::Short;
    case DType::kInt32:
      return at::ScalarType::Int;
    case DType::kInt64:
      return at::ScalarType::Long;
    case DType::kFloat16:
      return at::ScalarType::Half;
    case DType::kBFloat16:
      return at::ScalarType::BFloat16;
    case DType::kFloat32:
      return at::ScalarType::Float;
    case DType::kFloat64:
      return at::ScalarType::Double;
    case DType::kBool:
      return at::ScalarType::Bool;
    case DType::kUInt16:
      return at::ScalarType::UInt16;
    case DType::kUInt32:
      return at::ScalarType::UInt32;
    case DType::kUInt64:
      return at::ScalarType::UInt64;
    case DType::kComplex64:
      return at::ScalarType::ComplexFloat;
    case DType::kComplex128:
      return at::ScalarType::ComplexDouble;
    case DType::kFloat8E4M3FN:
      return at::ScalarType::Float8_e4m3fn;
    case DType::kFloat8E5M2:
      return at::ScalarType::Float8_e5m2;
    case DType::kFloat8E4M3FNUZ:
      return at::ScalarType::Float8_e4m3fnuz;
    case DType::kFloat8E5M2FNUZ:
      return at::ScalarType::Float8_e5m2fnuz;
  }
  return at::ScalarType::Undefined;
}

bool IsReadable(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.device().is_cpu()) return false;
  if (tensor.layout() != at::kStrided || tensor.is_nested()) return false;
  if (!DTypeOf(tensor.scalar_type())) return false;
  // Tensors of fake, functorch and the like call themselves dense but have no memory.
  return tensor.numel() == 0 || (tensor.has_storage() && tensor.storage().data() != nullptr);
}

Status CheckReadable(const at::Tensor& tensor, const TensorLabel& label) {
  if (IsReadable(tensor)) return Status::Ok();
  if (!tensor.defined()) return {StatusCode::kInvalidArgument, label + " is None"};
  if (!tensor.device().is_cpu()) {
    return {StatusCode::kUnsupported, label + " is on device " + tensor.device().str() +
                                          "; this build of rueda takes CPU tensors, so move it "
                                          "with .cpu() first"};
  }
  if (tensor.layout() != at::kStrided || tensor.is_nested()) {
    return {StatusCode::kUnsupported,
            label +
                " is sparse or nested; rueda takes dense tensors, so convert it with "
                ".to_dense() first"};
  }
  if (!DTypeOf(tensor.scalar_type())) {
    return {StatusCode::kUnsupported,
            label + ": element type " + c10::toString(tensor.scalar_type()) +
                " is not supported; rueda takes bool, the integers, the floating-point types of 8 "
                "to 64 bits, complex64 and complex128"};
  }
  return {StatusCode::kInvalidArgument,
          label + " has no memory of its own (a fake, meta or transformed tensor)"};
}

bool IsRowMajor(const at::Tensor& tensor) {
  // A lazily negated or conjugated tensor holds something else than what it means.
  return tensor.is_contiguous() && !tensor.is_neg() && !tensor.is_conj();
}

control::TensorSpec SpecOf(std::string name, const at::Tensor& tensor) {
  return {std::move(name), *DTypeOf(tensor.scalar_type()), tensor.sizes().vec()};
}

TensorView InputViewOf(const at::Tensor& tensor) {
  // The engine writes only into what it was given as an output.
  return {const_cast<void*>(tensor.const_data_ptr()), tensor.numel(),
          *DTypeOf(tensor.scalar_type())};
}

TensorView OutputViewOf(const at::Tensor& tensor) {
  return {tensor.mutable_data_ptr(), tensor.numel(), *DTypeOf(tensor.scalar_type())};
}

Status CheckDisjoint(const std::vector<TensorView>& inputs, const std::vector<TensorView>& outputs,
                     const std::vector<control::TensorSpec>& specs) {
  // The most frequent call of all.
  if (inputs.size() == 1 && outputs.size() == 1 && inputs[0].data == outputs[0].data) return {};
  std::vector<Span> spans;
  spans.reserve(inputs.size() + outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) AppendSpan(outputs[i], i, true, &spans);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool in_place = i < outputs.size() && inputs[i].data == outputs[i].data;
    if (!in_place) AppendSpan(inputs[i], i, false, &spans);
  }
  const auto before = [](const Span& a, const Span& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  };
  // Tensors that were made one after another mostly lie so.
  if (!std::is_sorted(spans.begin(), spans.end(), before)) {
    std::sort(spans.begin(), spans.end(), before);
  }
  // The span that reaches furthest so far, written or not, and the furthest written one.
  const Span* furthest = nullptr;
  const Span* furthest_written = nullptr;
  for (const Span& span : spans) {
    const Span* clash = span.written ? furthest : furthest_written;
    if (clash != nullptr && span.begin < clash->end) {
      return {StatusCode::kInvalidArgument,
              "'" + specs[clash->tensor].name + "' and '" + specs[span.tensor].name +
                  "' share memory, of which one is written; give each a tensor of its own"};
    }
    if (furthest == nullptr || span.end > furthest->end) furthest = &span;
    if (span.written && (furthest_written == nullptr || span.end > furthest_written->end)) {
      furthest_written = &span;
    }
  }
  return Status::Ok();
}

}  // namespace rueda::pytorch
