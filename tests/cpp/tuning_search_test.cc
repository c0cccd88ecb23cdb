// The search for better limits, on landscapes whose best setting is known.
#include "control/tuning_search.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace rueda::control {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
const Setting kStart{64 * kMiB, std::chrono::microseconds(30)};

using Landscape = std::function<double(const Setting&)>;

double Log2Bytes(const Setting& setting) {
  return std::log2(static_cast<double>(setting.bucket_bytes));
}
double LogLinger(const Setting& setting) {
  return std::log10(1 + static_cast<double>(setting.linger.count()) / 1e4);  // 0 to 2.5
}

// Falls off smoothly, by half within a few grid points, from its best place.
Landscape Hill(double log2_bytes, double log_linger) {
  return [=](const Setting& setting) {
    const double x = (Log2Bytes(setting) - log2_bytes) / 6;
    const double y = (LogLinger(setting) - log_linger) / 1.2;
    return 1e9 * (0.4 + std::exp(-x * x - y * y));
  };
}

struct Outcome {
  std::vector<Setting> asked;
  Setting result;
  double result_score = 0;
  double start_score = 0;
};

Outcome Search(const Landscape& score, SearchOptions options = {}, Setting start = kStart) {
  TuningSearch search(options, start);
  Outcome outcome;
  while (search.phase() != TuningSearch::Phase::kDone && outcome.asked.size() < 1000) {
    outcome.asked.push_back(search.current());
    search.Tell(score(search.current()));
  }
  outcome.result = search.current();
  outcome.result_score = search.result_score();
  outcome.start_score = search.start_score();
  return outcome;
}

// Multiplies by noise whose logarithm is normal.
Landscape Noisy(Landscape score, double deviation, uint64_t seed) {
  auto random = std::make_shared<std::mt19937_64>(seed);
  return [=, normal = std::normal_distribution<double>(0, deviation)](const Setting& s) mutable {
    return score(s) * std::exp(normal(*random));
  };
}

}  // namespace

TEST_CASE("a search uses its budget and no more", "[autotune][one-thread]") {
  for (const int samples : {1, 2, 3, 4, 5, 7, 20, 60, 200}) {
    SearchOptions options;
    options.samples = samples;
    const Outcome outcome = Search(Hill(20, 1), options);
    CAPTURE(samples);
    CHECK(static_cast<int>(outcome.asked.size()) == samples);
    CHECK(outcome.asked.front() == kStart);
    if (samples < 4) CHECK(outcome.result == kStart);
  }
}

TEST_CASE("a search comes near the best of a smooth landscape, wherever it lies",
          "[autotune][one-thread]") {
  for (const auto& [bytes, linger] : std::vector<std::pair<double, double>>{
           {20, 1}, {16, 0}, {28, 2.5}, {16, 2.5}, {28, 0}, {22, 0}, {24, 2}, {26, 0.6}}) {
    const Landscape hill = Hill(bytes, linger);
    const Outcome outcome = Search(hill);
    CAPTURE(bytes, linger, outcome.result.bucket_bytes, outcome.result.linger.count());
    CHECK(hill(outcome.result) >= 0.95 * 1.4e9);
    CHECK(outcome.result_score == hill(outcome.result));
    CHECK(outcome.start_score == hill(kStart));
  }
}

TEST_CASE("noise costs a search little", "[autotune][one-thread]") {
  int good = 0;
  int worse = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Landscape hill = Hill(19, 1.5);
    const Outcome outcome = Search(Noisy(hill, 0.05, seed));
    good += hill(outcome.result) >= 0.9 * 1.4e9 ? 1 : 0;
    worse += hill(outcome.result) < hill(kStart) ? 1 : 0;
  }
  CAPTURE(good, worse);
  CHECK(good >= 180);
  CHECK(worse == 0);
}

TEST_CASE("a flat landscape leaves the start alone, with noise in most cases",
          "[autotune][one-thread]") {
  const Landscape flat = [](const Setting&) { return 5e8; };
  CHECK(Search(flat).result == kStart);
  int moved = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    moved += Search(Noisy(flat, 0.05, seed)).result == kStart ? 0 : 1;
  }
  CAPTURE(moved);
  CHECK(moved <= 20);
}

TEST_CASE("a start that is the best already stays", "[autotune][one-thread]") {
  const Landscape hill = Hill(26, 0.6);
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const Outcome outcome = Search(Noisy(hill, 0.02, seed));
    REQUIRE(hill(outcome.result) >= 0.98 * hill(kStart));
  }
}

TEST_CASE("equal scores lead to equal proposals", "[autotune][one-thread]") {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const Outcome one = Search(Noisy(Hill(21, 1), 0.1, seed));
    const Outcome other = Search(Noisy(Hill(21, 1), 0.1, seed));
    REQUIRE(one.asked == other.asked);
    REQUIRE(one.result == other.result);
  }
}

TEST_CASE("what the user has set is not searched", "[autotune][one-thread]") {
  SearchOptions fixed_bytes;
  fixed_bytes.tune_bucket_bytes = false;
  const Setting odd{12345, std::chrono::microseconds(77)};
  for (const Setting& asked : Search(Hill(20, 1), fixed_bytes, odd).asked) {
    REQUIRE(asked.bucket_bytes == 12345);
  }
  SearchOptions fixed_linger;
  fixed_linger.tune_linger = false;
  std::set<int64_t> sizes;
  for (const Setting& asked : Search(Hill(20, 1), fixed_linger, odd).asked) {
    REQUIRE(asked.linger == odd.linger);
    sizes.insert(asked.bucket_bytes);
  }
  CHECK(sizes.size() > 5);
}

TEST_CASE("scores that are none use samples up and change nothing", "[autotune][one-thread]") {
  constexpr double kNone[] = {std::numeric_limits<double>::quiet_NaN(),
                              std::numeric_limits<double>::infinity(), 0, -1};
  for (const double none : kNone) {
    const Outcome outcome = Search([=](const Setting&) { return none; });
    CHECK(outcome.asked.size() <= 20);  // with nothing to compare it ends early
    CHECK(outcome.result == kStart);
  }
  // Every other sample fails.
  int count = 0;
  const Landscape hill = Hill(18, 2);
  const Outcome outcome = Search([&](const Setting& setting) {
    return ++count % 3 == 0 ? kNone[static_cast<size_t>(count) % 4] : hill(setting);
  });
  CHECK(outcome.asked.size() == 20);
  CHECK(hill(outcome.result) >= hill(kStart));
}

TEST_CASE("the extremes of the noise option are searches, too", "[autotune][one-thread]") {
  for (const double noise : {0.0, 1.0}) {
    SearchOptions options;
    options.noise = noise;
    options.samples = 200;
    const Landscape hill = Hill(19, 1.5);
    const Outcome outcome = Search(hill, options);
    CAPTURE(noise);
    CHECK(hill(outcome.result) >= 0.95 * 1.4e9);
  }
}

}  // namespace rueda::control
