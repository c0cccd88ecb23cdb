// bucket_layout: which gradients share a bucket. Pure; knows no PyTorch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace rueda::pytorch {

// A gradient as the layout sees it.
struct LayoutItem {
  size_t parameter = 0;  // the caller's number for it
  DType dtype = DType::kFloat32;
  int64_t bytes = 0;
};

struct BucketLimits {
  // The first bucket is small, so that communication starts early in the backward pass.
  int64_t first_bytes = 0;
  int64_t bytes = 0;
};

// Cuts `items`, given in the order in which backward produces them, into buckets of one dtype each,
// listed in the order in which they fill. A bucket stays within its limit unless a single gradient
// is larger. The same answer on every rank for the same model.
std::vector<std::vector<size_t>> CutBuckets(const std::vector<LayoutItem>& items,
                                            BucketLimits limits);

}  // namespace rueda::pytorch
