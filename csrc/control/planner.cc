#include "control/planner.h"

#include <algorithm>
#include <bit>
#include <numeric>
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
  std::span<const int> absent;

  bool operator==(const ShareKey& other) const {
    const auto values = [](const ShareKey& k) {
      return std::tie(k.kind, k.op, k.dtype, k.root, k.prescale_bits, k.postscale_bits);
    };
    return values(*this) == values(other) && std::ranges::equal(absent, other.absent);
  }
};

// As what a tensor is reduced: numbers that a backend adds.
struct Elements {
  DType dtype;
  int64_t per_element;
};
Elements ReducedAs(DType dtype) {
  if (dtype == DType::kComplex64) return {DType::kFloat32, 2};
  if (dtype == DType::kComplex128) return {DType::kFloat64, 2};
  return {dtype, 1};
}

bool RunsAlone(const AgreedRequest& agreed) {
  return agreed.request->kind == OpKind::kBarrier || agreed.request->kind == OpKind::kJoin;
}

// The order in which requests of several priorities are planned: falling, as offered where they are
// equal, and nothing across a barrier.
std::vector<size_t> ByPriority(std::span<const AgreedRequest> agreed) {
  std::vector<size_t> order(agreed.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto sooner = [&](size_t a, size_t b) {
    return agreed[a].request->priority > agreed[b].request->priority;
  };
  const auto alone = [&](size_t index) { return RunsAlone(agreed[index]); };
  for (auto first = order.begin(); first != order.end();) {
    const auto barrier = std::find_if(first, order.end(), alone);
    std::stable_sort(first, barrier, sooner);
    first = barrier == order.end() ? barrier : barrier + 1;
  }
  return order;
}

// Elements of one row along the first dimension.
int64_t RowOf(const TensorSpec& spec) {
  int64_t row = 1;
  for (size_t i = 1; i < spec.shape.size(); ++i) row *= spec.shape[i];
  return row;
}

class PlanBuilder {
 public:
  PlanBuilder(std::span<const AgreedRequest> agreed, std::span<const int> ranks,
              const Limits& limits)
      : agreed_(agreed), ranks_(ranks), limits_(limits) {}

  std::vector<PlannedBucket> Build() {
    const bool equal = std::ranges::all_of(agreed_, [this](const AgreedRequest& agreed) {
      return agreed.request->priority == agreed_[0].request->priority;
    });
    if (equal) {
      for (size_t i = 0; i < agreed_.size(); ++i) Add(i);
    } else {
      for (const size_t i : ByPriority(agreed_)) Add(i);
    }
    return std::move(buckets_);
  }

 private:
  void Add(size_t index) {
    const Request& request = *agreed_[index].request;
    last_ = 0;
    if (RunsAlone(agreed_[index])) {
      AddBarrier(index);
    } else if (!agreed_[index].response->placements.empty()) {
      AddInPlace(index);
    } else if (request.tensors.empty()) {
      AddEmpty(index);
    } else {
      for (size_t i = 0; i < request.tensors.size(); ++i) AddTensor(index, i);
    }
    buckets_[last_].completes.push_back(index);
  }

  void AddTensor(size_t index, size_t tensor) {
    switch (agreed_[index].request->kind) {
      case OpKind::kAllgather:
        return AddGathered(index, tensor);
      case OpKind::kReducescatter:
        return AddScattered(index, tensor);
      case OpKind::kAlltoall:
      case OpKind::kScatter:
      case OpKind::kGather:
        return AddExchanged(index, tensor);
      default:
        return AddShared(index, tensor);
    }
  }

  void AddBarrier(size_t index) {
    // Nothing after a barrier may join a bucket before it.
    open_.clear();
    Bucket& bucket = Open(index, DType::kUInt8);
    bucket.kind = OpKind::kBarrier;
    bucket.counts = {0};
  }

  // A group without tensors still has its turn.
  void AddEmpty(size_t index) {
    Bucket& bucket = Open(index, DType::kUInt8);
    const bool by_member =
        bucket.kind == OpKind::kAllgather || bucket.kind == OpKind::kReducescatter;
    size_t counts = by_member ? ranks_.size() : 1;
    if (bucket.kind == OpKind::kAlltoall) counts = ranks_.size() * ranks_.size();
    bucket.counts.assign(counts, 0);
  }

  void AddInPlace(size_t index) {
    const Request& request = *agreed_[index].request;
    const DType dtype = request.tensors.empty() ? DType::kUInt8 : request.tensors[0].dtype;
    const int64_t bytes = LayoutOf(request.tensors).bytes;
    const DType element = ReducedAs(dtype).dtype;
    Bucket& bucket = Open(index, element);
    bucket.counts = {bytes / static_cast<int64_t>(SizeOf(element))};
    bucket.placements = agreed_[index].response->placements;
    for (size_t i = 0; i < request.tensors.size(); ++i)
      buckets_[last_].slices.push_back({index, i});
  }

  void AddGathered(size_t index, size_t tensor) {
    const TensorSpec& spec = agreed_[index].request->tensors[tensor];
    Bucket& bucket = Open(index, spec.dtype);
    for (const int64_t first : agreed_[index].response->first_dims[tensor]) {
      bucket.counts.push_back(first * RowOf(spec));
    }
    buckets_[last_].slices.push_back({index, tensor});
  }

  // The first ranks get a row more where the rows do not divide.
  void AddScattered(size_t index, size_t tensor) {
    const TensorSpec& spec = agreed_[index].request->tensors[tensor];
    const Elements elements = ReducedAs(spec.dtype);
    Bucket& bucket = Open(index, elements.dtype);
    for (const int64_t rows : ScatteredRows(spec.shape[0], ranks_.size())) {
      bucket.counts.push_back(rows * RowOf(spec) * elements.per_element);
    }
    buckets_[last_].slices.push_back({index, tensor});
  }

  void AddExchanged(size_t index, size_t tensor) {
    const Request& request = *agreed_[index].request;
    const TensorSpec& spec = request.tensors[tensor];
    Bucket& bucket = Open(index, spec.dtype);
    const std::vector<int64_t>& rows = agreed_[index].response->first_dims[tensor];
    const size_t n = ranks_.size();
    bucket.counts.assign(n * n, 0);
    for (size_t i = 0; i < rows.size(); ++i) {
      // A gather has one entry a rank, all of which go to the root.
      const bool gathers = request.kind == OpKind::kGather;
      const size_t at = gathers ? i * n + static_cast<size_t>(MemberOf(request.root)) : i;
      bucket.counts[at] = rows[i] * RowOf(spec);
    }
    buckets_[last_].slices.push_back({index, tensor});
  }

  void AddShared(size_t index, size_t tensor) {
    const Request& request = *agreed_[index].request;
    const TensorSpec& spec = request.tensors[tensor];
    const Elements elements =
        request.kind == OpKind::kBroadcast
            ? Elements{DType::kUInt8, static_cast<int64_t>(SizeOf(spec.dtype))}
            : ReducedAs(spec.dtype);
    const size_t at = BucketFor(index, elements.dtype, static_cast<int64_t>(spec.bytes()));
    PlannedBucket& planned = buckets_[at];
    planned.bucket.counts[0] += spec.count() * elements.per_element;
    planned.slices.push_back({index, tensor});
    // Buckets run in the order in which they were opened, so the last of them completes the
    // request.
    last_ = std::max(last_, at);
  }

  // The open bucket that `bytes` more of this sort fit into, or a new one.
  size_t BucketFor(size_t index, DType dtype, int64_t bytes) {
    const ShareKey key = KeyOf(index, dtype);
    auto open = std::find_if(open_.begin(), open_.end(), [&](auto& o) { return o.key == key; });
    if (open == open_.end()) open = open_.insert(open_.end(), {key, kNone, 0});
    const bool fits = bytes == 0 || open->bytes == 0 || bytes <= limits_.bucket_bytes - open->bytes;
    if (open->bucket == kNone || !fits) {
      Open(index, dtype).counts = {0};
      *open = {key, buckets_.size() - 1, 0};
    }
    open->bytes += bytes;
    return open->bucket;
  }

  ShareKey KeyOf(size_t index, DType dtype) const {
    const Request& request = *agreed_[index].request;
    const std::vector<int>& absent = agreed_[index].response->absent;
    const int root = HasRoot(request.kind) ? request.root : -1;
    if (!Reduces(request.kind)) {
      return {request.kind, ReduceOp::kSum, dtype, root, 0, 0, absent};
    }
    return {request.kind,
            request.op,
            dtype,
            root,
            std::bit_cast<uint64_t>(request.prescale),
            std::bit_cast<uint64_t>(request.postscale),
            absent};
  }

  // Appends a bucket for a request, with what its operation means anything to: ranks need not agree
  // on the rest.
  Bucket& Open(size_t index, DType dtype) {
    const Request& request = *agreed_[index].request;
    last_ = buckets_.size();
    Bucket& bucket = buckets_.emplace_back().bucket;
    const bool exchanges = request.kind == OpKind::kGather || request.kind == OpKind::kScatter;
    bucket.kind = exchanges ? OpKind::kAlltoall : request.kind;
    bucket.dtype = dtype;
    bucket.process_set = request.process_set;
    for (const int rank : agreed_[index].response->absent) bucket.absent.push_back(MemberOf(rank));
    if (HasRoot(bucket.kind)) bucket.root = MemberOf(request.root);
    if (Reduces(request.kind)) {
      bucket.op = request.op;
      bucket.divisor = request.op == ReduceOp::kAverage ? static_cast<int>(ranks_.size()) : 1;
      bucket.prescale = request.prescale;
      bucket.postscale = request.postscale;
    }
    return bucket;
  }

  // Agreed roots and absent ranks are in the set.
  int MemberOf(int rank) const {
    return static_cast<int>(std::ranges::lower_bound(ranks_, rank) - ranks_.begin());
  }

  static constexpr size_t kNone = SIZE_MAX;
  struct OpenBucket {
    ShareKey key;
    size_t bucket;  // index, or kNone before the first
    int64_t bytes;
  };

  std::span<const AgreedRequest> agreed_;
  const std::span<const int> ranks_;
  const Limits& limits_;
  std::vector<PlannedBucket> buckets_;
  std::vector<OpenBucket> open_;  // few: one for each sort seen since the last barrier
  size_t last_ = 0;               // the latest bucket that the request at hand has a part in
};

}  // namespace

std::vector<PlannedBucket> Plan(std::span<const AgreedRequest> agreed, std::span<const int> ranks,
                                const Limits& limits) {
  return PlanBuilder(agreed, ranks, limits).Build();
}

}  // namespace rueda::control
