#include "control/planner.h"

#include <algorithm>
#include <bit>
#include <tuple>

namespace rueda::control {
namespace {

// What tensors must have in common to share a bucket.
struct ShareKey {
  OpKind kind;
  ReduceOp op;
  DType dtype;
  int root;
  uint64_t prescale_bits;
  uint64_t postscale_bits;

  bool operator==(const ShareKey&) const = default;
};

class PlanBuilder {
 public:
  PlanBuilder(std::span<const AgreedRequest> agreed, int set_size, const Limits& limits)
      : agreed_(agreed), set_size_(set_size), limits_(limits) {}

  std::vector<PlannedBucket> Build() {
    for (size_t i = 0; i < agreed_.size(); ++i) Add(i);
    return std::move(buckets_);
  }

 private:
  void Add(size_t index) {
    const Request& request = *agreed_[index].request;
    const Response& response = *agreed_[index].response;
    last_ = 0;
    if (request.kind == OpKind::kBarrier) {
      AddBarrier(request);
    } else if (!response.placements.empty()) {
      AddInPlace(index);
    } else if (request.tensors.empty()) {
      AddEmpty(request);
    } else if (request.kind == OpKind::kAllgather) {
      for (size_t i = 0; i < request.tensors.size(); ++i) AddGathered(index, i);
    } else {
      for (size_t i = 0; i < request.tensors.size(); ++i) AddShared(index, i);
    }
    buckets_[last_].completes.push_back(index);
  }

  void AddBarrier(const Request& request) {
    // Nothing after a barrier may join a bucket before it.
    open_.clear();
    Open(request, DType::kUInt8).counts = {0};
  }

  // A group without tensors still has its turn.
  void AddEmpty(const Request& request) {
    Bucket& bucket = Open(request, DType::kUInt8);
    const bool gathers = request.kind == OpKind::kAllgather;
    bucket.counts.assign(gathers ? static_cast<size_t>(set_size_) : 1, 0);
  }

  void AddInPlace(size_t index) {
    const Request& request = *agreed_[index].request;
    const DType dtype = request.tensors.empty() ? DType::kUInt8 : request.tensors[0].dtype;
    const int64_t bytes = LayoutOf(request.tensors).bytes;
    Bucket& bucket = Open(request, dtype);
    bucket.counts = {bytes / static_cast<int64_t>(SizeOf(dtype))};
    bucket.placements = agreed_[index].response->placements;
    for (size_t i = 0; i < request.tensors.size(); ++i)
      buckets_[last_].slices.push_back({index, i});
  }

  void AddGathered(size_t index, size_t tensor) {
    const Request& request = *agreed_[index].request;
    const TensorSpec& spec = request.tensors[tensor];
    int64_t row = 1;
    for (size_t i = 1; i < spec.shape.size(); ++i) row *= spec.shape[i];
    Bucket& bucket = Open(request, spec.dtype);
    for (const int64_t first : agreed_[index].response->first_dims[tensor]) {
      bucket.counts.push_back(first * row);
    }
    buckets_[last_].slices.push_back({index, tensor});
  }

  void AddShared(size_t index, size_t tensor) {
    const Request& request = *agreed_[index].request;
    const TensorSpec& spec = request.tensors[tensor];
    const bool as_bytes = request.kind == OpKind::kBroadcast;
    const DType dtype = as_bytes ? DType::kUInt8 : spec.dtype;
    const auto bytes = static_cast<int64_t>(spec.bytes());
    const size_t at = BucketFor(request, dtype, bytes);
    PlannedBucket& planned = buckets_[at];
    planned.bucket.counts[0] += as_bytes ? bytes : spec.count();
    planned.slices.push_back({index, tensor});
    // Buckets run in the order in which they were opened, so the last of them completes the
    // request.
    last_ = std::max(last_, at);
  }

  // The open bucket that `bytes` more of this sort fit into, or a new one.
  size_t BucketFor(const Request& request, DType dtype, int64_t bytes) {
    const ShareKey key = KeyOf(request, dtype);
    auto open = std::find_if(open_.begin(), open_.end(), [&](auto& o) { return o.key == key; });
    if (open == open_.end()) open = open_.insert(open_.end(), {key, kNone, 0});
    const bool fits = bytes == 0 || open->bytes == 0 || bytes <= limits_.bucket_bytes - open->bytes;
    if (open->bucket == kNone || !fits) {
      Open(request, dtype).counts = {0};
      *open = {key, buckets_.size() - 1, 0};
    }
    open->bytes += bytes;
    return open->bucket;
  }

  static ShareKey KeyOf(const Request& request, DType dtype) {
    if (request.kind == OpKind::kBroadcast) {
      return {request.kind, ReduceOp::kSum, dtype, request.root, 0, 0};
    }
    return {request.kind,
            request.op,
            dtype,
            -1,
            std::bit_cast<uint64_t>(request.prescale),
            std::bit_cast<uint64_t>(request.postscale)};
  }

  // Appends a bucket for `request`, with what its operation means anything to: ranks need not agree
  // on the rest.
  Bucket& Open(const Request& request, DType dtype) {
    last_ = buckets_.size();
    Bucket& bucket = buckets_.emplace_back().bucket;
    bucket.kind = request.kind;
    bucket.dtype = dtype;
    bucket.process_set = request.process_set;
    if (request.kind == OpKind::kBroadcast) bucket.root = request.root;
    if (request.kind == OpKind::kAllreduce) {
      bucket.op = request.op;
      bucket.divisor = request.op == ReduceOp::kAverage ? set_size_ : 1;
      bucket.prescale = request.prescale;
      bucket.postscale = request.postscale;
    }
    return bucket;
  }

  static constexpr size_t kNone = SIZE_MAX;
  struct OpenBucket {
    ShareKey key;
    size_t bucket;  // index, or kNone before the first
    int64_t bytes;
  };

  std::span<const AgreedRequest> agreed_;
  const int set_size_;
  const Limits& limits_;
  std::vector<PlannedBucket> buckets_;
  std::vector<OpenBucket> open_;  // few: one for each sort seen since the last barrier
  size_t last_ = 0;               // the latest bucket that the request at hand has a part in
};

}  // namespace

std::vector<PlannedBucket> Plan(std::span<const AgreedRequest> agreed, int set_size,
                                const Limits& limits) {
  return PlanBuilder(agreed, set_size, limits).Build();
}

}  // namespace rueda::control
