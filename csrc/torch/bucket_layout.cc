#include "torch/bucket_layout.h"

#include <array>
#include <utility>

namespace rueda::pytorch {
namespace {

struct OpenBucket {
  std::vector<size_t> parameters;
  int64_t bytes = 0;
};

}  // namespace

std::vector<std::vector<size_t>> CutBuckets(const std::vector<LayoutItem>& items,
                                            BucketLimits limits) {
  std::array<OpenBucket, kDTypeCount> open;
  std::vector<std::vector<size_t>> buckets;
  const auto close = [&buckets](OpenBucket* bucket) {
    if (!bucket->parameters.empty()) buckets.push_back(std::move(bucket->parameters));
    *bucket = {};
  };
  for (const LayoutItem& item : items) {
    OpenBucket& bucket = open[static_cast<size_t>(item.dtype)];
    const int64_t limit = buckets.empty() ? limits.first_bytes : limits.bytes;
    if (bucket.bytes + item.bytes > limit) close(&bucket);
    bucket.parameters.push_back(item.parameter);
    bucket.bytes += item.bytes;
  }
  for (OpenBucket& bucket : open) close(&bucket);
  return buckets;
}

}  // namespace rueda::pytorch
