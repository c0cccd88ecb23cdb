#include "backends/gloo/plugin/gloo_reduce.h"

#include <algorithm>
#include <limits>

#include "device/half.h"
#include "device/reduce.h"

namespace rueda::backends {
namespace {

bool Is16BitFloat(DType dtype) { return dtype == DType::kFloat16 || dtype == DType::kBFloat16; }

void Scale(const device::ReduceSpec& spec, const void* from, void* to, int64_t count) {
  const void* const sources[] = {from};
  void* const destinations[] = {to};
  device::Reduce(spec, sources, destinations, count);
}

// The loops take a type each, and no branch inside, so that the compiler can vectorise them.
void Widen(DType dtype, const void* from, float* to, int64_t count) {
  const auto* halves = static_cast<const uint16_t*>(from);
  if (dtype == DType::kBFloat16) {
    for (int64_t i = 0; i < count; ++i) to[i] = device::BFloat16ToFloat(halves[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = device::Float16ToFloat(halves[i]);
  }
}

void Narrow(DType dtype, const float* from, void* to, int64_t count) {
  auto* halves = static_cast<uint16_t*>(to);
  if (dtype == DType::kBFloat16) {
    for (int64_t i = 0; i < count; ++i) halves[i] = device::FloatToBFloat16(from[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) halves[i] = device::FloatToFloat16(from[i]);
  }
}

template <typename T>
T IdentityOf(ReduceOp op) {
  using Limits = std::numeric_limits<T>;
  switch (op) {
    case ReduceOp::kMin:
      return Limits::has_infinity ? Limits::infinity() : Limits::max();
    case ReduceOp::kMax:
      return Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
    case ReduceOp::kProduct:
      return T{1};
    default:
      return T{0};
  }
}

template <typename T>
void Fill(ReduceOp op, void* to, int64_t count) {
  std::fill_n(static_cast<T*>(to), count, IdentityOf<T>(op));
}

}  // namespace

DType AccumulatorOf(DType dtype) { return Is16BitFloat(dtype) ? DType::kFloat32 : dtype; }

std::function<void(void*, const void*, const void*, size_t)> AdderOf(const Bucket& bucket) {
  const ReduceOp op = bucket.op == ReduceOp::kAverage ? ReduceOp::kSum : bucket.op;
  const device::ReduceSpec spec{.dtype = AccumulatorOf(bucket.dtype), .op = op};
  return [spec](void* result, const void* a, const void* b, size_t count) {
    const void* const sources[] = {a, b};
    void* const destinations[] = {result};
    device::Reduce(spec, sources, destinations, static_cast<int64_t>(count));
  };
}

void FillIdentity(const Bucket& bucket, void* to, int64_t count) {
  switch (AccumulatorOf(bucket.dtype)) {
    case DType::kInt8:
      return Fill<int8_t>(bucket.op, to, count);
    case DType::kInt16:
      return Fill<int16_t>(bucket.op, to, count);
    case DType::kInt32:
      return Fill<int32_t>(bucket.op, to, count);
    case DType::kInt64:
      return Fill<int64_t>(bucket.op, to, count);
    case DType::kFloat32:
      return Fill<float>(bucket.op, to, count);
    case DType::kFloat64:
      return Fill<double>(bucket.op, to, count);
    case DType::kUInt16:
      return Fill<uint16_t>(bucket.op, to, count);
    case DType::kUInt32:
      return Fill<uint32_t>(bucket.op, to, count);
    case DType::kUInt64:
      return Fill<uint64_t>(bucket.op, to, count);
    default:
      // uint8, and bool, of which any byte but 0 is true.
      return Fill<uint8_t>(bucket.op, to, count);
  }
}

void LoadElements(const Bucket& bucket, const void* from, void* to, int64_t count) {
  const device::ReduceSpec spec{.dtype = AccumulatorOf(bucket.dtype), .prescale = bucket.prescale};
  if (!Is16BitFloat(bucket.dtype)) {
    Scale(spec, from, to, count);
    return;
  }
  Widen(bucket.dtype, from, static_cast<float*>(to), count);
  Scale(spec, to, to, count);
}

void StoreElements(const Bucket& bucket, void* accumulators, void* to, int64_t count) {
  const device::ReduceSpec spec{
      .dtype = AccumulatorOf(bucket.dtype),
      .op = bucket.op == ReduceOp::kAverage ? ReduceOp::kAverage : ReduceOp::kSum,
      .divisor = bucket.divisor,
      .postscale = bucket.postscale};
  if (!Is16BitFloat(bucket.dtype)) {
    Scale(spec, accumulators, to, count);
    return;
  }
  Scale(spec, accumulators, accumulators, count);
  Narrow(bucket.dtype, static_cast<const float*>(accumulators), to, count);
}

}  // namespace rueda::backends
