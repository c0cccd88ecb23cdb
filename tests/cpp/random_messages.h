// Seeded random batches and frames, valid in every field.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "control/messages.h"
#include "control_samples.h"

namespace rueda::control {

inline std::string RandomText(Random& random, size_t longest) {
  std::string text(random.Below(longest + 1), ' ');
  for (char& c : text) c = static_cast<char>(random.Below(256));
  return text;
}

inline Request RandomRequest(Random& random) {
  constexpr ReduceOp kOps[] = {ReduceOp::kAverage, ReduceOp::kSum, ReduceOp::kMin, ReduceOp::kMax,
                               ReduceOp::kProduct};
  constexpr double kFactors[] = {1.0, 0.5, -0.0, std::numeric_limits<double>::quiet_NaN()};
  Request request;
  request.kind = static_cast<OpKind>(random.Below(kOpKindCount));
  request.op = kOps[random.Below(5)];
  request.root = static_cast<int>(random.Int(-1, 5));
  request.prescale = kFactors[random.Below(4)];
  request.postscale = kFactors[random.Below(4)];
  request.process_set = static_cast<uint32_t>(random.Below(3));
  request.transient = random.Chance(50);
  if (random.Chance(50)) request.priority = static_cast<int32_t>(random.Next());
  request.placement = random.Chance(50) ? kPrivate : random.Int(0, int64_t{1} << 40);
  request.name = RandomText(random, 40);
  request.parts.resize(random.Below(3));
  for (int64_t& part : request.parts) part = random.Int(0, 9);
  request.tensors.resize(random.Below(4));
  for (TensorSpec& tensor : request.tensors) {
    tensor.name = RandomText(random, 20);
    const int dtypes = Reduces(request.kind) ? kReducibleDTypeCount : kDTypeCount;
    tensor.dtype = static_cast<DType>(random.Below(static_cast<size_t>(dtypes)));
    tensor.shape.resize(random.Below(4));
    for (int64_t& dimension : tensor.shape) dimension = random.Int(0, 1000);
  }
  return request;
}

inline BitSet RandomSlots(Random& random) {
  BitSet slots;
  const size_t sparseness = 1 + random.Below(40);
  uint32_t slot = static_cast<uint32_t>(random.Below(1000));
  for (size_t i = random.Below(40); i > 0; --i) {
    slots.Insert(slot);
    slot += static_cast<uint32_t>(1 + random.Below(sparseness));
  }
  return slots;
}

inline Batch RandomBatch(Random& random) {
  Batch batch;
  batch.slots = RandomSlots(random);
  for (size_t i = random.Below(4); i > 0; --i)
    batch.requests.push_back(Shared(RandomRequest(random)));
  if (random.Chance(30)) batch.leave_reason = RandomText(random, 100);
  return batch;
}

inline Response RandomAgreed(Random& random) {
  Response response = Agreed(RandomText(random, 30));
  if (random.Chance(70)) response.slot = static_cast<uint32_t>(random.Below(kMaxSlots));
  response.process_set = static_cast<uint32_t>(random.Below(3));
  response.placements.resize(random.Below(4));
  for (int64_t& placement : response.placements) placement = random.Int(0, int64_t{1} << 50);
  response.first_dims.resize(random.Below(3));
  for (auto& dims : response.first_dims) dims.assign(random.Below(4), random.Int(0, 9));
  response.number = random.Int(0, 99);
  if (random.Chance(20)) {
    response.slot = kNoSlot;
    response.absent = {1, 3};
    response.request = std::make_shared<const Request>(RandomRequest(random));
  }
  return response;
}

inline Response RandomError(Random& random) {
  constexpr StatusCode kCodes[] = {StatusCode::kMismatch, StatusCode::kPeerLeft,
                                   StatusCode::kInvalidArgument, StatusCode::kStalled};
  Status error(kCodes[random.Below(4)], RandomText(random, 80));
  if (random.Chance(50)) error.Blame(static_cast<int>(random.Below(9)));
  return Failed(RandomText(random, 30), error, static_cast<int>(random.Int(-1, 5)));
}

inline Frame RandomFrame(Random& random) {
  Frame frame;
  frame.number = random.Next();
  frame.limits.bucket_bytes = random.Int(0, int64_t{1} << 40);
  frame.limits.run_timeout = Duration(random.Int(0, int64_t{1} << 60));
  frame.limits.linger = Duration(random.Int(0, int64_t{1} << 40));
  frame.cached = RandomSlots(random);
  for (size_t i = random.Below(6); i > 0; --i) {
    if (random.Chance(30)) frame.responses.push_back(RandomAgreed(random));
    if (random.Chance(30)) frame.responses.push_back(RandomError(random));
  }
  return frame;
}

}  // namespace rueda::control
