// GaussianProcess: what noisy scores of a few points say about all others, and where to look next.
//
// Regression with a Matern 5/2 kernel over the unit square: C. E. Rasmussen and C. K. I. Williams,
// Gaussian Processes for Machine Learning, MIT Press 2006, algorithm 2.1 and equation 4.17. Pure;
// the same bits from the same scores.
#pragma once

#include <span>
#include <vector>

namespace rueda::control {

struct Point {
  double x = 0;  // 0 to 1
  double y = 0;
};

// Of the true score at a point, without the noise of a measurement.
struct Prediction {
  double mean = 0;
  double deviation = 0;
};

class GaussianProcess {
 public:
  // `scores` are finite, one for each point; a point may come more than once. `noise` is the
  // standard deviation of a score's error, in standard deviations of the scores. Of a few length
  // scales it takes the one that makes the scores likeliest (equation 5.8). What floating
  // point cannot solve leaves it with the scores' own mean and spread everywhere.
  GaussianProcess(std::span<const Point> points, std::span<const double> scores, double noise);

  Prediction At(Point point) const;

 private:
  void Scale(std::span<const double> scores);
  bool Fit(double length, double noise);
  double LogLikelihood() const;

  std::vector<Point> points_;
  std::vector<double> scaled_;  // scores, with mean 0 and deviation 1
  double mean_ = 0;
  double spread_ = 1;
  double length_ = 0;           // of the fit; 0: none
  std::vector<double> factor_;  // the kernel matrix's Cholesky factor, row by row
  std::vector<double> weights_;
};

// How much better than `best` the score at a point is expected to be, where worse counts as zero:
// D. R. Jones, M. Schonlau and W. J. Welch, Efficient Global Optimization of Expensive Black-Box
// Functions, Journal of Global Optimization 13 (1998), equation 15, for a score to be raised.
double ExpectedImprovement(const Prediction& prediction, double best);

}  // namespace rueda::control
