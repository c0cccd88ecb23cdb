// Which layout is decided on from what the first steps have shown.
#include "torch/layout_learning.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <random>

#include "seeds.h"
#include "torch/bucket_layout.h"

namespace rueda::pytorch {
namespace {

constexpr int64_t kKibi = 1024, kMebi = kKibi * kKibi;
constexpr BucketLimits kStart{kMebi, 25 * kMebi};

std::vector<TimedItem> Items(const std::vector<int64_t>& bytes, const std::vector<double>& arrivals,
                             DType dtype = DType::kFloat32) {
  std::vector<TimedItem> items;
  for (size_t i = 0; i < bytes.size(); ++i) items.push_back({{i, dtype, bytes[i]}, arrivals[i]});
  return items;
}

std::vector<TimedItem> RandomItems(std::mt19937& random) {
  constexpr int kPrimes[] = {1, 2, 3, 7, 13, 61, 161};
  const int count = kPrimes[random() % std::size(kPrimes)];
  std::vector<TimedItem> items;
  for (int i = 0; i < count; ++i) {
    const int64_t bytes = random() % 5 == 0 ? 0 : static_cast<int64_t>(random() % (4 * kMebi)) + 1;
    const auto dtype = random() % 7 == 0 ? DType::kFloat64 : DType::kFloat32;
    // Coarse, so that many come at the same time.
    const double arrival = static_cast<double>(random() % 200) * 1e-3;
    items.push_back({{static_cast<size_t>(i), dtype, bytes}, arrival});
  }
  return items;
}

std::vector<TimedItem> InOrder(const std::vector<TimedItem>& items,
                               const std::vector<size_t>& positions) {
  std::vector<TimedItem> ordered;
  for (const size_t position : positions) ordered.push_back(items[position]);
  return ordered;
}

bool IsPermutation(std::vector<size_t> positions) {
  std::sort(positions.begin(), positions.end());
  for (size_t i = 0; i < positions.size(); ++i) {
    if (positions[i] != i) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("what is decided is a permutation that never ends later", "[layout][one-thread]") {
  for (unsigned seed = 0; seed < testing::SeedsOf(200U); ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const std::vector<TimedItem> items = RandomItems(random);
    const BucketCost cost{50e-6, 20e-6, std::exp2(static_cast<double>(random() % 14)) * 1e7};
    const bool keeps = random() % 2 == 0;
    const LayoutDecision decision = DecideLayout(items, kStart, cost, keeps);
    REQUIRE(decision.positions.size() == items.size());
    REQUIRE(IsPermutation(decision.positions));
    CHECK(decision.end_before == PredictEnd(items, kStart, cost));
    CHECK(decision.end_after ==
          PredictEnd(InOrder(items, decision.positions), decision.limits, cost));
    CHECK(decision.end_after <= decision.end_before);
    CHECK(decision.limits.first_bytes <= decision.limits.bytes);
    if (keeps || !decision.changes) {
      CHECK(decision.limits.first_bytes == kStart.first_bytes);
      CHECK(decision.limits.bytes == kStart.bytes);
    }
    const LayoutDecision again = DecideLayout(items, kStart, cost, keeps);
    CHECK(again.positions == decision.positions);
    CHECK(again.limits.bytes == decision.limits.bytes);
    CHECK(again.end_after == decision.end_after);
  }
}

TEST_CASE("nothing and one gradient keep their layout", "[layout][one-thread]") {
  CHECK_FALSE(DecideLayout({}, kStart, {}, false).changes);
  CHECK_FALSE(DecideLayout(Items({100 * kMebi}, {0.0}), kStart, {}, false).changes);
  CHECK_FALSE(DecideLayout(Items({0, 0, 0}, {0.3, 0.2, 0.1}), kStart, {}, false).changes);
}

TEST_CASE("an interleaved order is put right with the sizes as they are", "[layout][one-thread]") {
  const std::vector<TimedItem> items =
      Items(std::vector<int64_t>(8, kMebi), {0.7, 0.3, 0.6, 0.2, 0.5, 0.1, 0.4, 0.0});
  const LayoutDecision decision = DecideLayout(items, {2 * kMebi, 2 * kMebi}, {}, true);
  REQUIRE(decision.changes);
  CHECK(decision.positions == std::vector<size_t>{7, 5, 3, 1, 6, 4, 2, 0});
  CHECK(decision.end_after < decision.end_before + 1e-12);
  CHECK(decision.limits.bytes == 2 * kMebi);
}

TEST_CASE("gradients of one layer that change places change nothing", "[layout][one-thread]") {
  const std::vector<TimedItem> items =
      Items(std::vector<int64_t>(6, kMebi), {0.11, 0.1, 0.21, 0.2, 0.31, 0.3});
  CHECK_FALSE(DecideLayout(items, {2 * kMebi, 2 * kMebi}, {}, true).changes);
}

TEST_CASE("gradients that come at once keep their order", "[layout][one-thread]") {
  const std::vector<TimedItem> items =
      Items(std::vector<int64_t>(61, kMebi), std::vector<double>(61, 0.0));
  const LayoutDecision decision = DecideLayout(items, kStart, {}, false);
  CHECK(std::is_sorted(decision.positions.begin(), decision.positions.end()));
}

TEST_CASE("the last bucket becomes small where the others are hidden", "[layout][one-thread]") {
  std::vector<double> arrivals(100);
  for (size_t i = 0; i < arrivals.size(); ++i) arrivals[i] = static_cast<double>(i) * 2e-3;
  const std::vector<TimedItem> items = Items(std::vector<int64_t>(100, kMebi), arrivals);
  const LayoutDecision decision = DecideLayout(items, kStart, {50e-6, 20e-6, 1e9}, false);
  REQUIRE(decision.changes);
  CHECK(decision.limits.bytes < kStart.bytes);
  CHECK(decision.end_after < decision.end_before);
}

TEST_CASE("buckets stay large where each costs more than it moves", "[layout][one-thread]") {
  std::vector<double> arrivals(100);
  for (size_t i = 0; i < arrivals.size(); ++i) arrivals[i] = static_cast<double>(i) * 1e-5;
  const std::vector<TimedItem> items = Items(std::vector<int64_t>(100, 64 * kKibi), arrivals);
  const LayoutDecision decision = DecideLayout(items, {kMebi, kMebi}, {5e-3, 0, 1e12}, false);
  REQUIRE(decision.changes);
  CHECK(decision.limits.bytes > kMebi);
}

TEST_CASE("the rate is that of the rank that waited least for others", "[layout][one-thread]") {
  const double start = BucketCost::kStartSeconds;
  const BucketCost cost =
      FitCost({{10.0 + start, 1e9, 1}, {1.0 + start, 1e9, 1}, {0, 0, 0}, {5.0, 0, 2}});
  CHECK(cost.bytes_per_second == Approx(1e9));
  CHECK(FitCost({}).bytes_per_second == BucketCost::kBytesPerSecond);
  CHECK(FitCost({{0, 0, 0}}).bytes_per_second == BucketCost::kBytesPerSecond);
  // More starts than time: at most four times what was seen.
  CHECK(FitCost({{start, 1e6, 10}}).bytes_per_second == Approx(4e6 / start));
}

}  // namespace rueda::pytorch
