#include "torch/layout_learning.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <optional>

namespace rueda::pytorch {
namespace {

constexpr int64_t kSmallestLimit = int64_t{256} << 10;
constexpr int64_t kLargestLimit = int64_t{64} << 20;
// Sizes that promise to end by less of the time sooner are not worth leaving those that are there:
// steps differ by more.
constexpr double kLeastGain = 0.03;
// Among those that hardly differ the fewest buckets win.
constexpr double kIndifferent = 0.02;
// A gradient that moves by no more places comes in the present order: those of one layer come
// within a hook of each other, now this one first, now that one.
constexpr size_t kNeighbours = 2;
// However long a rank waited, its own part of it is not shorter than this share.
constexpr double kLeastOwnShare = 0.25;

using Cut = std::vector<std::vector<size_t>>;

struct Arrangement {
  std::vector<TimedItem> items;
  BucketLimits limits;
  Cut cut;
  double end = 0;
};

std::vector<LayoutItem> Untimed(const std::vector<TimedItem>& items) {
  std::vector<LayoutItem> untimed;
  untimed.reserve(items.size());
  for (const TimedItem& timed : items) untimed.push_back(timed.item);
  return untimed;
}

double LastArrival(const std::vector<TimedItem>& items) {
  double last = 0;
  for (const TimedItem& timed : items) last = std::max(last, timed.arrival);
  return last;
}

struct ReadyBucket {
  double ready = 0;
  double bytes = 0;
};

double EndOf(std::vector<ReadyBucket> buckets, BucketCost cost) {
  std::stable_sort(buckets.begin(), buckets.end(),
                   [](const auto& a, const auto& b) { return a.ready < b.ready; });
  double now = 0;
  double delay = 0;
  for (const ReadyBucket& bucket : buckets) {
    now = std::max(now, bucket.ready + delay) + cost.start_seconds +
          bucket.bytes / cost.bytes_per_second;
    delay += cost.work_seconds;
  }
  return now;
}

// `items` whose LayoutItem::parameter is their place among them.
Arrangement Arrange(std::vector<TimedItem> items, BucketLimits limits, BucketCost cost) {
  Arrangement result{std::move(items), limits, {}, 0};
  for (size_t i = 0; i < result.items.size(); ++i) result.items[i].item.parameter = i;
  result.cut = CutBuckets(Untimed(result.items), limits);
  std::vector<ReadyBucket> buckets;
  for (const std::vector<size_t>& members : result.cut) {
    ReadyBucket bucket;
    for (const size_t member : members) {
      bucket.ready = std::max(bucket.ready, result.items[member].arrival);
      bucket.bytes += static_cast<double>(result.items[member].item.bytes);
    }
    buckets.push_back(bucket);
  }
  result.end = EndOf(std::move(buckets), cost);
  return result;
}

// The limits that end soonest with these items in this order.
Arrangement BestSizes(const std::vector<TimedItem>& items, BucketCost cost) {
  std::vector<Arrangement> tried;
  for (int64_t first = kSmallestLimit; first <= kLargestLimit; first *= 2) {
    for (int64_t rest = first; rest <= kLargestLimit; rest *= 2) {
      tried.push_back(Arrange(items, {first, rest}, cost));
    }
  }
  const auto soonest = [](const Arrangement& a, const Arrangement& b) { return a.end < b.end; };
  const double end = std::min_element(tried.begin(), tried.end(), soonest)->end;
  const double worth = end + kIndifferent * (end - LastArrival(items));
  const Arrangement* best = nullptr;
  for (const Arrangement& one : tried) {
    if (one.end > worth) continue;
    if (best == nullptr || one.cut.size() < best->cut.size()) best = &one;
  }
  return *best;
}

// The positions of `items` by arrival, or nothing if that is the present order.
std::optional<std::vector<size_t>> ByArrival(const std::vector<TimedItem>& items) {
  std::vector<size_t> positions(items.size());
  std::iota(positions.begin(), positions.end(), size_t{0});
  std::stable_sort(positions.begin(), positions.end(),
                   [&](size_t a, size_t b) { return items[a].arrival < items[b].arrival; });
  for (size_t i = 0; i < positions.size(); ++i) {
    const size_t moved = positions[i] > i ? positions[i] - i : i - positions[i];
    if (moved > kNeighbours) return positions;
  }
  return std::nullopt;
}

std::vector<TimedItem> InOrder(const std::vector<TimedItem>& items,
                               const std::vector<size_t>& positions) {
  std::vector<TimedItem> ordered;
  for (const size_t position : positions) ordered.push_back(items[position]);
  return ordered;
}

bool IsWorth(double before, double after) { return before - after >= kLeastGain * before; }

// The buckets as sets of the positions that `positions` names, for comparing.
Cut Memberships(const Cut& cut, const std::vector<size_t>& positions) {
  Cut named;
  for (const std::vector<size_t>& members : cut) {
    std::vector<size_t>& bucket = named.emplace_back();
    for (const size_t member : members) bucket.push_back(positions[member]);
    std::sort(bucket.begin(), bucket.end());
  }
  std::sort(named.begin(), named.end());
  return named;
}

}  // namespace

BucketCost FitCost(const std::vector<WaitedBuckets>& by_rank) {
  BucketCost cost;
  double fastest = 0;
  for (const WaitedBuckets& waited : by_rank) {
    if (waited.bytes <= 0 || waited.seconds <= 0) continue;
    const double moving = std::max(waited.seconds - waited.buckets * cost.start_seconds,
                                   waited.seconds * kLeastOwnShare);
    fastest = std::max(fastest, waited.bytes / moving);
  }
  if (fastest > 0) cost.bytes_per_second = fastest;
  return cost;
}

double PredictEnd(const std::vector<TimedItem>& items, BucketLimits limits, BucketCost cost) {
  return Arrange(items, limits, cost).end;
}

LayoutDecision DecideLayout(const std::vector<TimedItem>& items, BucketLimits limits,
                            BucketCost cost, bool keeps_limits) {
  const Arrangement present = Arrange(items, limits, cost);
  std::vector<size_t> in_order(items.size());
  std::iota(in_order.begin(), in_order.end(), size_t{0});
  const auto decision = [&](const std::vector<size_t>& positions, const Arrangement& next,
                            std::string_view reason) {
    const bool differs = Memberships(next.cut, positions) != Memberships(present.cut, in_order);
    return LayoutDecision{
        differs && next.end <= present.end, positions, next.limits, present.end, next.end, reason};
  };
  LayoutDecision stays = decision(in_order, present, "no other layout would end sooner");
  if (items.empty()) return stays;
  if (const std::optional<std::vector<size_t>> learned = ByArrival(items)) {
    const std::string_view reason = "gradients come in another order";
    const Arrangement same = Arrange(InOrder(items, *learned), limits, cost);
    const Arrangement best = keeps_limits ? same : BestSizes(same.items, cost);
    const bool takes_best = IsWorth(same.end, best.end) || same.end > present.end;
    LayoutDecision other = decision(*learned, takes_best ? best : same, reason);
    if (other.changes) return other;
  }
  if (keeps_limits) return stays;
  const Arrangement best = BestSizes(items, cost);
  if (!IsWorth(present.end, best.end)) return stays;
  LayoutDecision sizes = decision(in_order, best, "other sizes end sooner");
  return sizes.changes ? sizes : stays;
}

}  // namespace rueda::pytorch
