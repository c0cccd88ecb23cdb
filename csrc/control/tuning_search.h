// TuningSearch: which limits to try next, and which were best, within a fixed budget of samples.
//
// Pure and without chance: the same scores lead to the same settings. It explores a grid by
// expected improvement under a Gaussian process (gaussian_process.h), then measures the most
// promising setting against the start in turns. The start stays unless the other is clearly better,
// so noise alone does not move a job away from it. Why so:
// docs/decisions/0010-what-autotune-measures.md.
#pragma once

#include <cstdint>
#include <vector>

#include "control/gaussian_process.h"
#include "core/clock.h"

namespace rueda::control {

// What is searched: two of the Limits.
struct Setting {
  int64_t bucket_bytes = 0;
  Duration linger{};

  bool operator==(const Setting&) const = default;
};

struct SearchOptions {
  int samples = 20;  // in all
  double noise = 0.8;
  bool tune_bucket_bytes = true;  // false: it stays as it starts
  bool tune_linger = true;
};

class TuningSearch {
 public:
  enum class Phase { kExplore, kConfirm, kDone };

  TuningSearch(const SearchOptions& options, Setting start);

  Phase phase() const { return phase_; }
  // What to measure next; once done, what was found best.
  const Setting& current() const { return grid_[now_].setting; }

  // The score of `current`, higher is better. One that is not finite, or not positive, uses a
  // sample up and says nothing.
  void Tell(double score);

  // Once done: the result's score and the start's, each the median of the last phase; both the
  // start's if nothing was compared.
  double result_score() const { return result_score_; }
  double start_score() const { return start_score_; }

 private:
  struct Candidate {
    Setting setting;
    Point point;
    int samples = 0;
  };

  void Propose();
  void BeginConfirming();
  void Confirm();
  void Decide();
  GaussianProcess Model() const;
  size_t Nearest(Point point) const;
  double BestMean(const GaussianProcess& model) const;

  SearchOptions options_;
  std::vector<Candidate> grid_;
  size_t start_ = 0;
  size_t rival_ = 0;  // of the last phase
  size_t now_ = 0;
  Phase phase_ = Phase::kExplore;
  int told_ = 0;
  std::vector<Point> points_;         // what was explored with success,
  std::vector<double> scores_;        // and the logarithm of its score
  std::vector<size_t> where_;         // and its place in the grid
  std::vector<double> start_scores_;  // of the last phase
  std::vector<double> rival_scores_;
  double result_score_ = 0;
  double start_score_ = 0;
};

}  // namespace rueda::control
