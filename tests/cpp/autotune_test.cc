// Autotune from submissions to limits: steps, samples, and work that changes under way.
#include "control/autotune.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "control_samples.h"

namespace rueda::control {
namespace {

using std::chrono::microseconds;
using Phase = TuningRow::Phase;

constexpr int kSteps = 4;  // a sample

AutotuneOptions Options(int warmups = 2, int samples = 10) {
  AutotuneOptions options;
  options.warmup_samples = warmups;
  options.steps_per_sample = kSteps;
  options.search.samples = samples;
  return options;
}

// A rank's training loop, on a clock of its own.
class Loop {
 public:
  explicit Loop(const AutotuneOptions& options, const Limits& limits = {})
      : tuner(options, limits) {}

  // One step of named tensors: submits all, computes for `rest` when their results have come.
  void Step(Duration span, int64_t elements = 1000, Duration rest = microseconds(500),
            const std::string& prefix = "t") {
    std::vector<Request> requests;
    for (int i = 0; i < 3; ++i) {
      requests.push_back(Allreduce(prefix + std::to_string(i), {elements}));
    }
    for (const Request& request : requests) tuner.Submitted(request, now);
    now += span;
    for (const Request& request : requests) tuner.Completed(request, now);
    now += rest;
    for (const TuningRow& row : tuner.TakeRows()) rows.push_back(row);
  }

  // Steps whose span depends on the limits, until the search is over.
  template <typename Span>
  int Train(Span span, int most = 2000) {
    int steps = 0;
    for (; !tuner.finished() && steps < most; ++steps) Step(span(tuner.limits()));
    return steps;
  }

  Autotune tuner;
  TimePoint now{};
  std::vector<TuningRow> rows;
};

// Quicker the nearer buckets are to 1 MiB; linger costs itself.
Duration SpanUnder(const Limits& limits) {
  const double away = std::abs(std::log2(static_cast<double>(limits.bucket_bytes)) - 20);
  return microseconds(static_cast<int64_t>(1000 + 100 * away)) + limits.linger;
}

std::vector<Phase> PhasesOf(const std::vector<TuningRow>& rows) {
  std::vector<Phase> phases;
  for (const TuningRow& row : rows) phases.push_back(row.phase);
  return phases;
}

}  // namespace

TEST_CASE("a search finds better limits and keeps them", "[autotune]") {
  Loop loop(Options(2, 20));
  loop.Train(SpanUnder);
  REQUIRE(loop.tuner.finished());
  CHECK(loop.tuner.has_result());
  CHECK(SpanUnder(loop.tuner.limits()) < microseconds(1250));
  CHECK(loop.tuner.limits().run_timeout == Limits().run_timeout);
  REQUIRE(loop.rows.size() == 23);
  const TuningRow& result = loop.rows.back();
  CHECK(result.phase == Phase::kResult);
  CHECK(result.setting.bucket_bytes == loop.tuner.limits().bucket_bytes);
  CHECK(result.setting.linger == loop.tuner.limits().linger);
  CHECK(result.step_bytes == 12'000);
  CHECK(result.score > loop.tuner.start_score());
  const Limits found = loop.tuner.limits();
  for (int i = 0; i < 100; ++i) loop.Step(microseconds(9000));
  CHECK(loop.tuner.limits() == found);
  CHECK(loop.rows.size() == 23);
}

TEST_CASE("rows count warm-up, search and comparison", "[autotune]") {
  Loop loop(Options(2, 5));
  loop.Train(SpanUnder);
  CHECK(PhasesOf(loop.rows) == std::vector<Phase>{Phase::kWarmup, Phase::kWarmup, Phase::kExplore,
                                                  Phase::kExplore, Phase::kExplore, Phase::kConfirm,
                                                  Phase::kConfirm, Phase::kResult});
  for (size_t i = 0; i + 1 < loop.rows.size(); ++i) {
    CHECK(loop.rows[i].sample == static_cast<int>(i) + 1);
    CHECK(loop.rows[i].steps == kSteps);
  }
  CHECK(loop.rows[0].setting == Setting{Limits().bucket_bytes, Limits().linger});
  CHECK(loop.rows[2].setting == loop.rows[0].setting);
  CHECK(loop.rows[3].setting != loop.rows[0].setting);
}

TEST_CASE("the first step under new limits is not counted", "[autotune]") {
  Loop loop(Options(0, 4));
  // A step is known when the next one begins, and the job's first is none.
  for (int i = 0; i <= kSteps; ++i) loop.Step(microseconds(1000));
  CHECK(loop.rows.empty());
  loop.Step(microseconds(1000));
  REQUIRE(loop.rows.size() == 1);
  CHECK(loop.tuner.limits() != Limits());
  // One step was under way already; it and the rest of the sample:
  for (int i = 0; i < kSteps; ++i) loop.Step(microseconds(1000));
  CHECK(loop.rows.size() == 1);
  loop.Step(microseconds(1000));
  CHECK(loop.rows.size() == 2);
}

TEST_CASE("time between steps counts against no setting", "[autotune]") {
  Loop busy(Options(0, 4));
  Loop idle(Options(0, 4));
  for (int i = 0; i <= kSteps + 1; ++i) {
    busy.Step(microseconds(1000), 1000, microseconds(0));
    idle.Step(microseconds(1000), 1000, std::chrono::seconds(i));
  }
  REQUIRE(busy.rows.size() == 1);
  CHECK(busy.rows[0].score == Approx(12e6));
  CHECK(idle.rows[0].score == Approx(12e6));
}

TEST_CASE("one slow step does not spoil a sample", "[autotune]") {
  Loop loop(Options(0, 4));
  for (int i = 0; i <= kSteps + 1; ++i) loop.Step(microseconds(i == 2 ? 900'000 : 1000));
  REQUIRE(loop.rows.size() == 1);
  CHECK(loop.rows[0].score == Approx(12e6));
}

TEST_CASE("a sample of slow steps ends after three of them", "[autotune]") {
  AutotuneOptions options = Options(0, 4);
  options.steps_per_sample = 1000;
  Loop loop(options);
  for (int i = 0; i < 5; ++i) loop.Step(std::chrono::seconds(16));
  REQUIRE(loop.rows.size() == 1);
  CHECK(loop.rows[0].steps == 3);
}

TEST_CASE("steps of another size are left out", "[autotune]") {
  Loop loop(Options(0, 4));
  for (int i = 0; i <= kSteps + 1; ++i) loop.Step(microseconds(1000));
  REQUIRE(loop.rows.size() == 1);
  // An evaluation: small steps of other names, many of them.
  for (int i = 0; i < 300; ++i) loop.Step(microseconds(10), 100, microseconds(1), "e");
  CHECK(loop.rows.size() == 1);
  loop.Train([](const Limits&) { return microseconds(1000); });
  CHECK(loop.tuner.has_result());
  for (const TuningRow& row : loop.rows) CHECK(row.score == Approx(12e6).epsilon(0.01));
}

TEST_CASE("larger steps for good begin the search again", "[autotune]") {
  Loop loop(Options(1, 10));
  for (int i = 0; i < 5 * kSteps; ++i) loop.Step(microseconds(1000), 10);
  const size_t before = loop.rows.size();
  CHECK(before >= 3);
  CHECK(loop.tuner.limits() != Limits());
  for (int i = 0; i <= kSteps + 1; ++i) loop.Step(microseconds(1000), 1000);
  CHECK(loop.tuner.limits() == Limits());
  while (!loop.tuner.finished()) loop.Step(SpanUnder(loop.tuner.limits()), 1000);
  REQUIRE(loop.rows.size() == before + 12);
  CHECK(loop.rows[before].phase == Phase::kWarmup);
  CHECK(loop.rows.back().step_bytes == 12'000);
}

TEST_CASE("smaller steps for good end the search without a result", "[autotune]") {
  Loop loop(Options(1, 10));
  for (int i = 0; i < 3 * kSteps; ++i) loop.Step(microseconds(1000), 1000);
  CHECK(loop.tuner.limits() != Limits());
  int small = 0;
  for (; !loop.tuner.finished() && small < 10'000; ++small) loop.Step(microseconds(9), 10);
  CHECK(small > 50 * kSteps);
  CHECK(small < 200 * kSteps);
  CHECK_FALSE(loop.tuner.has_result());
  CHECK(loop.tuner.limits() == Limits());
}

TEST_CASE("what a job sends once at its start is no usual step", "[autotune]") {
  AutotuneOptions options = Options(2, 5);
  options.steps_per_sample = 1;
  Loop loop(options);
  loop.Step(microseconds(1000), 100'000);  // initial values
  loop.Step(microseconds(1000), 90'000);
  loop.Train(SpanUnder);
  CHECK(loop.tuner.has_result());
  CHECK(loop.rows.back().step_bytes == 12'000);
}

TEST_CASE("equal steps lead to equal limits, step by step", "[autotune]") {
  Loop one(Options());
  Loop other(Options());
  for (int i = 0; i < 300; ++i) {
    one.Step(SpanUnder(one.tuner.limits()));
    other.Step(SpanUnder(other.tuner.limits()));
    REQUIRE(one.tuner.limits() == other.tuner.limits());
  }
  CHECK(one.tuner.finished());
}

TEST_CASE("work that no step can be made of leaves the limits alone", "[autotune]") {
  Autotune tuner(Options(0, 4), {});
  TimePoint now{};
  for (int i = 0; i < 500; ++i) {
    Request unnamed = Allreduce("allreduce.noname." + std::to_string(i));
    unnamed.transient = true;
    for (const Request& request : {unnamed, Barrier("b"), Join(), Allreduce("alone")}) {
      tuner.Submitted(request, now);
      tuner.Completed(request, now += microseconds(10));
    }
  }
  CHECK(tuner.limits() == Limits());
  // Unnamed work belongs to the step of the named one beside it.
  CHECK(tuner.samples() > 0);
  Autotune nameless(Options(0, 4), {});
  for (int i = 0; i < 500; ++i) {
    Request unnamed = Allreduce("u" + std::to_string(i));
    unnamed.transient = true;
    nameless.Submitted(unnamed, now);
    nameless.Completed(unnamed, now += microseconds(10));
  }
  CHECK(nameless.samples() == 0);
}

TEST_CASE("where steps overlap, one ends where the next begins", "[autotune]") {
  StepWatch watch;
  const Request a = Allreduce("a");
  const Request b = Allreduce("b");
  TimePoint now{};
  watch.Submitted(a, now);
  watch.Submitted(b, now);
  watch.Completed(a, now += microseconds(10));
  const std::optional<Step> step = watch.Submitted(a, now += microseconds(5));
  REQUIRE(step);
  CHECK(step->works == 2);
  CHECK(step->bytes == 320);
  CHECK(step->span == microseconds(15));
  // The same name in another process set is another name.
  CHECK_FALSE(watch.Submitted(InSet(a, 1), now));
}

}  // namespace rueda::control
