// Random programs on whole jobs: thousands of submissions in another order on every rank, against a
// plain model. A failing seed is the bug report.
#include "engine_program.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "seeds.h"
#include "status_text.h"
#include "thread_job.h"

namespace rueda::testing {
namespace {

struct Outcome {
  std::string wrong;
  std::vector<Status> mismatches;  // in the order of the program
};

// Submits a window in an order of this rank's own and waits for it in another.
Outcome RunWindow(const std::vector<Operation>& window, engine::Engine& engine,
                  std::mt19937_64& random) {
  Outcome outcome;
  std::vector<std::unique_ptr<Part>> parts;
  for (const Operation& operation : window)
    parts.push_back(std::make_unique<Part>(operation, engine));
  std::vector<size_t> order(window.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), random);
  for (const size_t i : order) {
    const Status submitted = parts[i]->Submit(random() % 3 == 0);
    if (!submitted.ok()) return {submitted.message(), {}};
  }
  std::shuffle(order.begin(), order.end(), random);
  for (const size_t i : order) {
    const std::string wrong = parts[i]->Finish();
    if (outcome.wrong.empty()) outcome.wrong = wrong;
  }
  for (size_t i = 0; i < window.size(); ++i) {
    if (window[i].odd_rank >= 0) outcome.mismatches.push_back(parts[i]->status());
  }
  return outcome;
}

void RunProgram(int size, uint64_t seed, const Config& config, int submissions) {
  CAPTURE(size, seed);
  ProgramMaker maker(seed, size);
  std::vector<std::vector<Operation>> windows;
  for (int made = 0; made < submissions; made += static_cast<int>(windows.back().size())) {
    windows.push_back(maker.NextWindow());
  }
  ThreadJob job(size, config);
  const auto outcomes = job.ForEachRank([&](int rank) {
    std::mt19937_64 random(seed * 100 + static_cast<uint64_t>(rank));
    Outcome all;
    for (const std::vector<Operation>& window : windows) {
      Outcome outcome = RunWindow(window, job.engine(rank), random);
      all.mismatches.insert(all.mismatches.end(), outcome.mismatches.begin(),
                            outcome.mismatches.end());
      all.wrong = outcome.wrong;
      if (!all.wrong.empty()) {
        job.engine(rank).Stop("the test failed");  // nobody waits for it in vain
        break;
      }
    }
    return all;
  });
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.wrong == "");
    CHECK(outcome.mismatches == outcomes[0].mismatches);
  }
  CHECK((size == 1 || !outcomes[0].mismatches.empty()));
}

TEST_CASE("random programs give what the plain model gives", "[engine][program]") {
  const int size = GENERATE(1, 2, 3, 4);
  const uint64_t seed = GENERATE(range(1u, 1u + SeedsOf(2u)));
  RunProgram(size, seed, {}, size == 4 ? 2'000 : 800);
}

TEST_CASE("random programs with little room: small buckets, few slots, no linger",
          "[engine][program]") {
  const uint64_t seed = GENERATE(range(11u, 11u + SeedsOf(2u)));
  Config config;
  config.fusion_threshold = 3'000;
  config.cache_capacity = 7;
  config.linger_us = 0;
  RunProgram(3, seed, config, 800);
}

TEST_CASE("random programs while the limits are searched", "[engine][program][autotune]") {
  const uint64_t seed = GENERATE(range(21u, 21u + SeedsOf(2u)));
  Config config;
  config.autotune = 1;
  config.autotune_steps_per_sample = 1;
  config.autotune_warmup_samples = 0;
  config.autotune_bayes_opt_max_samples = 200;
  RunProgram(3, seed, config, 800);
}

TEST_CASE("two jobs of one process do not know of each other", "[engine][program]") {
  const Deadline deadline("two jobs");
  ThreadJob first(2), second(3);
  const auto reduce = [](ThreadJob& job, float value) {
    const auto sums = job.ForEachRank([&job, value](int rank) {
      float sum = 0;
      for (int round = 0; round < 100; ++round) {
        std::vector<float> values(1'000, value);
        const Status status =
            ReduceInPlace(job.engine(rank), RequestFor("same name", 1'000), &values);
        sum += status.ok() ? values[999] : -1e9f;
      }
      return sum;
    });
    return sums;
  };
  auto other = std::async(std::launch::async, [&] { return reduce(second, 2.0f); });
  CHECK(reduce(first, 1.0f) == std::vector<float>(2, 200.0f));
  CHECK(other.get() == std::vector<float>(3, 600.0f));
  // The end of one is nothing to the other, not even by an error.
  first.TellOfDeath(1);
  std::vector<float> values(1);
  CHECK_FALSE(ReduceInPlace(first.engine(0), RequestFor("x", 1), &values).ok());
  CHECK(reduce(second, 3.0f) == std::vector<float>(3, 900.0f));
}

}  // namespace
}  // namespace rueda::testing
