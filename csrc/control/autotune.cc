#include "control/autotune.h"

#include <algorithm>
#include <utility>

namespace rueda::control {
namespace {

// A sample of slow steps ends early, so that a search ends within the hour.
constexpr Duration kLongSample = std::chrono::seconds(30);
constexpr size_t kFewSteps = 3;
// Samples' worth of smaller steps after which larger ones are not expected any more.
constexpr int kSmallerSamples = 100;
// A single tensor shares no bucket and waits for no company.
constexpr int kLeastWorks = 2;

template <typename T>
T Median(std::vector<T> values) {
  // Of an even number the lower one in the middle.
  const auto half = values.begin() + static_cast<ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), half, values.end());
  return *half;
}

template <typename Value>
auto MedianOf(const std::vector<Step>& steps, Value value) {
  std::vector<decltype(value(steps.front()))> values;
  for (const Step& step : steps) values.push_back(value(step));
  return Median(std::move(values));
}

double Score(const Step& step) {
  return static_cast<double>(step.bytes) / std::chrono::duration<double>(step.span).count();
}

}  // namespace

std::string_view NameOf(TuningRow::Phase phase) {
  switch (phase) {
    case TuningRow::Phase::kWarmup:
      return "warmup";
    case TuningRow::Phase::kExplore:
      return "explore";
    case TuningRow::Phase::kConfirm:
      return "confirm";
    case TuningRow::Phase::kResult:
      return "result";
  }
  return "";
}

Autotune::Autotune(const AutotuneOptions& options, const Limits& limits)
    : options_(options),
      start_{limits.bucket_bytes, limits.linger},
      limits_(limits),
      search_(options.search, start_),
      warmups_left_(options.warmup_samples) {}

void Autotune::Submitted(const Request& request, TimePoint now) {
  const std::optional<Step> ended = watch_.Submitted(request, now);
  if (ended && !finished_) Take(*ended, now);
}

std::vector<TuningRow> Autotune::TakeRows() { return std::exchange(rows_, {}); }

void Autotune::Take(const Step& step, TimePoint now) {
  if (step.works < kLeastWorks || step.span <= Duration::zero() || !IsUsual(step)) return;
  if (std::exchange(settling_, false)) return;
  if (steps_.empty()) sample_began_ = now;
  steps_.push_back(step);
  const bool is_long = steps_.size() >= kFewSteps && now - sample_began_ >= kLongSample;
  if (is_long || steps_.size() >= static_cast<size_t>(options_.steps_per_sample)) EndSample();
}

bool Autotune::IsUsual(const Step& step) {
  if (learning_) return true;
  if (step.bytes > 2 * step_bytes_) {
    smaller_in_a_row_ = 0;
    if (++larger_in_a_row_ >= options_.steps_per_sample) BeginAgain(step.bytes);
    return false;
  }
  larger_in_a_row_ = 0;
  if (step.bytes >= step_bytes_ / 2) {
    smaller_in_a_row_ = 0;
    return true;
  }
  if (++smaller_in_a_row_ >= kSmallerSamples * options_.steps_per_sample) Finish();
  return false;
}

// The usual step only grows, and by a factor, so this happens a few times at most.
void Autotune::BeginAgain(int64_t step_bytes) {
  step_bytes_ = step_bytes;
  larger_in_a_row_ = 0;
  steps_.clear();
  search_ = TuningSearch(options_.search, start_);
  warmups_left_ = options_.warmup_samples;
  limits_.bucket_bytes = start_.bucket_bytes;
  limits_.linger = start_.linger;
  settling_ = true;
}

void Autotune::EndSample() {
  const std::vector<Step> steps = std::exchange(steps_, {});
  if (learning_) step_bytes_ = MedianOf(steps, [](const Step& s) { return s.bytes; });
  learning_ = learning_ && warmups_left_ > 1;
  const double score = MedianOf(steps, Score);
  ++samples_;
  const auto count = static_cast<int>(steps.size());
  if (warmups_left_ > 0) {
    --warmups_left_;
    return Report(TuningRow::Phase::kWarmup, count, score);
  }
  const bool confirms = search_.phase() == TuningSearch::Phase::kConfirm;
  Report(confirms ? TuningRow::Phase::kConfirm : TuningRow::Phase::kExplore, count, score);
  search_.Tell(score);
  const Setting& next = search_.current();
  settling_ = next != Setting{limits_.bucket_bytes, limits_.linger};
  limits_.bucket_bytes = next.bucket_bytes;
  limits_.linger = next.linger;
  if (!has_result()) return;
  finished_ = true;
  Report(TuningRow::Phase::kResult, 0, search_.result_score());
}

void Autotune::Finish() {
  finished_ = true;
  limits_.bucket_bytes = start_.bucket_bytes;
  limits_.linger = start_.linger;
}

void Autotune::Report(TuningRow::Phase phase, int steps, double score) {
  const Setting setting{limits_.bucket_bytes, limits_.linger};
  rows_.push_back({samples_, phase, setting, steps, step_bytes_, score});
}

}  // namespace rueda::control
