// What happens to elements on their way through Gloo: loaded as accumulators, added, stored.
//
// 16-bit floats travel and are added as float32, so that they are rounded once, when stored; every
// other type is its own accumulator. The arithmetic is device/reduce.h's. Pure; any thread on which
// device::UseDefaultFloatingPointMode() was called; nothing can fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "core/bucket.h"
#include "core/dtype.h"

namespace rueda::backends {

DType AccumulatorOf(DType dtype);

// The function that Gloo calls: (result, a, b, elements), all of the accumulator's type; the result
// may be a or b. Bool sums are "or"; Average is a sum that StoreElements divides.
std::function<void(void*, const void*, const void*, size_t)> AdderOf(const Bucket& bucket);

// to[i] = from[i] * prescale, as accumulators. The two may be the same memory if the types are.
void LoadElements(const Bucket& bucket, const void* from, void* to, int64_t count);

// to[i] = what changes nothing in the reduction of `bucket`, as accumulators: the contribution of a
// member that has joined. `to` is aligned to an accumulator.
void FillIdentity(const Bucket& bucket, void* to, int64_t count);

// to[i] = accumulators[i] / divisor * postscale, rounded once. Scales the accumulators in place;
// the two may be the same memory if the types are.
void StoreElements(const Bucket& bucket, void* accumulators, void* to, int64_t count);

}  // namespace rueda::backends
