// layout_learning: which order and sizes of buckets let a step's communication end soonest. Pure;
// knows no PyTorch.
//
// Buckets cut by when gradients really come are PyTorch DDP's (S. Li et al., "PyTorch Distributed",
// VLDB 2020, "bucket rebuilding"); sizes chosen by a model of the cost of a message, start +
// bytes / rate, and of the time at which gradients come are MG-WFBP's (S. Shi, X. Chu, B. Li,
// INFOCOM 2019). MG-WFBP merges neighbours one by one; here the few limits that CutBuckets takes
// are tried, so that what is laid out later fits in.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "torch/bucket_layout.h"

namespace rueda::pytorch {

// Time that a bucket takes when nothing is in its way.
struct BucketCost {
  // What a bucket of one cache line takes when it wakes the engine, and what it takes of backward's
  // time where no core is idle; docs/performance.md has the measurements. Other ranks' lateness is
  // not in it.
  static constexpr double kStartSeconds = 50e-6;
  static constexpr double kWorkSeconds = 150e-6;
  // Where no rank had to wait for a bucket, all are hidden, and the rate matters little.
  static constexpr double kBytesPerSecond = 8e9;

  double start_seconds = kStartSeconds;
  double work_seconds = kWorkSeconds;
  double bytes_per_second = kBytesPerSecond;
};

// What one rank saw of buckets that it had to wait for when backward was over.
struct WaitedBuckets {
  double seconds = 0;  // from the submission of the first of them to the end of the last
  double bytes = 0;
  double buckets = 0;
};

// The rate of the rank that waited least for others, which is the fastest.
BucketCost FitCost(const std::vector<WaitedBuckets>& by_rank);

// A gradient, and when it was complete, in seconds after the step's first one.
struct TimedItem {
  LayoutItem item;
  double arrival = 0;
};

// When the last bucket is done, in seconds after the first gradient: buckets are submitted when
// they are full and run one after the other, and each delays the gradients that come after it.
double PredictEnd(const std::vector<TimedItem>& items, BucketLimits limits, BucketCost cost);

struct LayoutDecision {
  bool changes = false;           // else order and limits are the present ones
  std::vector<size_t> positions;  // of `items`, in the order to lay them out
  BucketLimits limits;
  double end_before = 0, end_after = 0;  // predicted, as PredictEnd
  std::string_view reason;               // a few words, static
};

// Decides from the same values the same on every rank. `items` are in their present order, in which
// ties stay, and were cut by `limits`, which stay where `keeps_limits`. What is decided never ends
// later than the present layout, by its own measure.
LayoutDecision DecideLayout(const std::vector<TimedItem>& items, BucketLimits limits,
                            BucketCost cost, bool keeps_limits);

}  // namespace rueda::pytorch
