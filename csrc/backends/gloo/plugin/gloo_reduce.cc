#include "backends/gloo/plugin/gloo_reduce.h"

#include <cstring>

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
