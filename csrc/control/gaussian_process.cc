#include "control/gaussian_process.h"

#include <array>
#include <cmath>
#include <limits>
#include <numbers>

namespace rueda::control {
namespace {

// Of the unit square; the scores choose.
constexpr std::array<double, 4> kLengths{0.15, 0.3, 0.6, 1.2};
// Added to the noise, so that equal points without noise leave a matrix that can be factored.
constexpr double kLeastNoise = 1e-3;
constexpr double kLeastSpread = 1e-12;

double Kernel(Point a, Point b, double length) {
  const double r = std::sqrt(5.0) * std::hypot(a.x - b.x, a.y - b.y) / length;
  return (1 + r + r * r / 3) * std::exp(-r);
}

// Factors the symmetric matrix of n rows into lower * transposed lower, in place. False if it is
// not positive definite.
bool Factor(std::vector<double>& matrix, size_t n) {
  for (size_t row = 0; row < n; ++row) {
    for (size_t column = 0; column <= row; ++column) {
      double sum = matrix[row * n + column];
      for (size_t k = 0; k < column; ++k) sum -= matrix[row * n + k] * matrix[column * n + k];
      if (column < row) {
        matrix[row * n + column] = sum / matrix[column * n + column];
      } else if (sum > 0) {
        matrix[row * n + row] = std::sqrt(sum);
      } else {
        return false;
      }
    }
  }
  return true;
}

// Solves lower * x = values.
void SolveLower(const std::vector<double>& lower, std::vector<double>& values) {
  const size_t n = values.size();
  for (size_t row = 0; row < n; ++row) {
    for (size_t k = 0; k < row; ++k) values[row] -= lower[row * n + k] * values[k];
    values[row] /= lower[row * n + row];
  }
}

// Solves transposed lower * x = values.
void SolveUpper(const std::vector<double>& lower, std::vector<double>& values) {
  const size_t n = values.size();
  for (size_t row = n; row-- > 0;) {
    for (size_t k = row + 1; k < n; ++k) values[row] -= lower[k * n + row] * values[k];
    values[row] /= lower[row * n + row];
  }
}

}  // namespace

GaussianProcess::GaussianProcess(std::span<const Point> points, std::span<const double> scores,
                                 double noise)
    : points_(points.begin(), points.end()) {
  if (points_.empty()) return;
  Scale(scores);
  double best = -std::numeric_limits<double>::infinity();
  double chosen = 0;
  for (const double length : kLengths) {
    if (!Fit(length, noise)) continue;
    const double likelihood = LogLikelihood();
    if (!(likelihood > best)) continue;
    best = likelihood;
    chosen = length;
  }
  if (chosen == 0 || !Fit(chosen, noise)) length_ = 0;
}

void GaussianProcess::Scale(std::span<const double> scores) {
  const auto n = static_cast<double>(scores.size());
  for (const double score : scores) mean_ += score / n;
  double variance = 0;
  for (const double score : scores) variance += (score - mean_) * (score - mean_) / n;
  // Scores that are all the same have no scale of their own.
  spread_ = std::sqrt(variance) > kLeastSpread ? std::sqrt(variance) : 1;
  for (const double score : scores) scaled_.push_back((score - mean_) / spread_);
}

bool GaussianProcess::Fit(double length, double noise) {
  const size_t n = points_.size();
  factor_.assign(n * n, 0);
  for (size_t row = 0; row < n; ++row) {
    for (size_t column = 0; column <= row; ++column) {
      factor_[row * n + column] = Kernel(points_[row], points_[column], length);
    }
    factor_[row * n + row] += noise * noise + kLeastNoise * kLeastNoise;
  }
  if (!Factor(factor_, n)) return false;
  length_ = length;
  weights_ = scaled_;
  SolveLower(factor_, weights_);
  SolveUpper(factor_, weights_);
  return true;
}

double GaussianProcess::LogLikelihood() const {
  const size_t n = points_.size();
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    sum -= scaled_[i] * weights_[i] / 2 + std::log(factor_[i * n + i]);
  }
  return sum;
}

Prediction GaussianProcess::At(Point point) const {
  if (length_ == 0) return {mean_, spread_};
  std::vector<double> covariance;
  double mean = 0;
  for (size_t i = 0; i < points_.size(); ++i) {
    covariance.push_back(Kernel(point, points_[i], length_));
    mean += covariance.back() * weights_[i];
  }
  SolveLower(factor_, covariance);
  double variance = 1;
  for (const double value : covariance) variance -= value * value;
  return {mean_ + spread_ * mean, spread_ * std::sqrt(variance > 0 ? variance : 0)};
}

double ExpectedImprovement(const Prediction& prediction, double best) {
  const double gain = prediction.mean - best;
  if (!(prediction.deviation > 0)) return gain > 0 ? gain : 0;
  const double z = gain / prediction.deviation;
  const double density = std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
  const double share = std::erfc(-z / std::numbers::sqrt2) / 2;
  return gain * share + prediction.deviation * density;
}

}  // namespace rueda::control
