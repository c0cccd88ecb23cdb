#include "control/tuning_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace rueda::control {
namespace {

constexpr int kLowestPower = 16;   // 64 KiB
constexpr int kHighestPower = 28;  // 256 MiB
constexpr std::array<int64_t, 7> kLingersUs{0, 10, 30, 100, 300, 1000, 3000};
// Where exploring begins, after the start itself: spread over the grid.
constexpr std::array<Point, 4> kFirst{Point{0.25, 0.25}, Point{0.75, 0.75}, Point{0.25, 0.75},
                                      Point{0.75, 0.25}};
// Samples of one setting while others are to be explored.
constexpr int kMostSamples = 2;
// How much faster, at least, a setting has to be to replace the start.
constexpr double kClearGain = 1.03;

// The start and the rival are measured in pairs at the end: four of twenty samples' worth, fewer of
// a small budget, none where nothing would be left to explore.
int PairsOf(int samples) { return samples < 4 ? 0 : std::clamp(samples / 5, 1, 8); }

void Include(std::vector<int64_t>& axis, int64_t value) {
  const auto at = std::lower_bound(axis.begin(), axis.end(), value);
  if (at == axis.end() || *at != value) axis.insert(at, value);
}

double Place(size_t index, size_t count) {
  return count == 1 ? 0.5 : static_cast<double>(index) / static_cast<double>(count - 1);
}

// Of a copy; not empty.
double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace

TuningSearch::TuningSearch(const SearchOptions& options, Setting start) : options_(options) {
  std::vector<int64_t> buckets{start.bucket_bytes};
  std::vector<int64_t> lingers{start.linger.count()};
  for (int power = kLowestPower; options.tune_bucket_bytes && power <= kHighestPower; ++power) {
    Include(buckets, int64_t{1} << power);
  }
  for (const int64_t us : kLingersUs) {
    if (options.tune_linger) Include(lingers, Duration(std::chrono::microseconds(us)).count());
  }
  for (size_t x = 0; x < buckets.size(); ++x) {
    for (size_t y = 0; y < lingers.size(); ++y) {
      grid_.push_back({{buckets[x], Duration(lingers[y])},
                       {Place(x, buckets.size()), Place(y, lingers.size())}});
      if (grid_.back().setting == start) start_ = grid_.size() - 1;
    }
  }
  now_ = start_;
}

void TuningSearch::Tell(double score) {
  if (phase_ == Phase::kDone) return;
  ++told_;
  ++grid_[now_].samples;
  const bool valid = std::isfinite(score) && score > 0;
  if (phase_ == Phase::kConfirm) {
    if (valid) (now_ == start_ ? start_scores_ : rival_scores_).push_back(score);
    return Confirm();
  }
  if (valid) {
    points_.push_back(grid_[now_].point);
    scores_.push_back(std::log(score));
    where_.push_back(now_);
  }
  told_ < options_.samples - 2 * PairsOf(options_.samples) ? Propose() : BeginConfirming();
}

GaussianProcess TuningSearch::Model() const { return {points_, scores_, options_.noise}; }

size_t TuningSearch::Nearest(Point point) const {
  const auto distance = [&](const Candidate& candidate) {
    return std::hypot(candidate.point.x - point.x, candidate.point.y - point.y);
  };
  const auto nearest = std::ranges::min_element(grid_, {}, distance);
  return static_cast<size_t>(nearest - grid_.begin());
}

double TuningSearch::BestMean(const GaussianProcess& model) const {
  double best = -std::numeric_limits<double>::infinity();
  for (const Point& point : points_) best = std::max(best, model.At(point).mean);
  return best;
}

void TuningSearch::Propose() {
  if (static_cast<size_t>(told_) <= kFirst.size()) {
    const size_t first = Nearest(kFirst[static_cast<size_t>(told_) - 1]);
    if (grid_[first].samples == 0) {
      now_ = first;
      return;
    }
  }
  const GaussianProcess model = Model();
  const double best = points_.empty() ? 0 : BestMean(model);
  double most = -1;
  for (size_t i = 0; i < grid_.size(); ++i) {
    // The least sampled come first where the grid is smaller than the budget.
    const int over = std::max(0, grid_[i].samples - kMostSamples + 1);
    const double gain = ExpectedImprovement(model.At(grid_[i].point), best) / (1 + 1e6 * over);
    if (gain > most) {
      most = gain;
      now_ = i;
    }
  }
}

// The rival is what the model, not one lucky sample, holds for best among what was measured.
void TuningSearch::BeginConfirming() {
  const GaussianProcess model = Model();
  double best = -std::numeric_limits<double>::infinity();
  rival_ = start_;
  for (const size_t index : where_) {
    const double mean = model.At(grid_[index].point).mean;
    if (index == start_ || !(mean > best)) continue;
    best = mean;
    rival_ = index;
  }
  phase_ = Phase::kConfirm;
  if (!where_.empty() && where_.front() == start_) start_score_ = std::exp(scores_.front());
  if (rival_ == start_ || told_ >= options_.samples) return Decide();
  now_ = start_;
}

// Start, rival, rival, start, start, rival, ...: a machine that becomes slower is unfair to none.
void TuningSearch::Confirm() {
  if (told_ >= options_.samples) return Decide();
  const int done = told_ - (options_.samples - 2 * PairsOf(options_.samples));
  now_ = done % 4 == 0 || done % 4 == 3 ? start_ : rival_;
}

// A rival wins if it is faster by a margin, and by more than its scores and the start's overlap.
void TuningSearch::Decide() {
  phase_ = Phase::kDone;
  now_ = start_;
  if (!start_scores_.empty()) start_score_ = Median(start_scores_);
  result_score_ = start_score_;
  if (start_scores_.empty() || rival_scores_.empty()) return;
  const double rival = Median(rival_scores_);
  const bool apart = rival > *std::ranges::max_element(start_scores_) &&
                     *std::ranges::min_element(rival_scores_) > start_score_;
  if (!apart || rival < kClearGain * start_score_) return;
  now_ = rival_;
  result_score_ = rival;
}

}  // namespace rueda::control
