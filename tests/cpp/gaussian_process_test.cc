// Gaussian process regression and expected improvement, against values worked out by hand.
#include "control/gaussian_process.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <numbers>
#include <vector>

namespace rueda::control {

TEST_CASE("without noise the model goes through its points", "[autotune]") {
  const std::vector<Point> points{{0, 0}, {0.5, 0.5}, {1, 0}, {0.2, 0.9}};
  const std::vector<double> scores{3, 7, -2, 4};
  const GaussianProcess model(points, scores, 0);
  for (size_t i = 0; i < points.size(); ++i) {
    CHECK(model.At(points[i]).mean == Approx(scores[i]).margin(0.01));
    CHECK(model.At(points[i]).deviation < 0.02);
  }
  CHECK(model.At({1, 1}).deviation > 0.5);
}

TEST_CASE("far from every point the model knows mean and spread alone", "[autotune]") {
  const std::vector<Point> points{{0, 0}, {0.001, 0}};
  const GaussianProcess model(points, std::vector<double>{10, 14}, 0.5);
  const Prediction far = model.At({50, 50});
  CHECK(far.mean == Approx(12));
  CHECK(far.deviation == Approx(2));
}

TEST_CASE("one noisy score is halved by a noise as wide as the spread", "[autotune]") {
  // Two points too far apart to tell anything of each other: mean k / (k + noise^2) of the score.
  const std::vector<Point> points{{0, 0}, {1000, 0}};
  const GaussianProcess model(points, std::vector<double>{-1, 1}, 1);
  CHECK(model.At({0, 0}).mean == Approx(-0.5).epsilon(1e-4));
  CHECK(model.At({0, 0}).deviation == Approx(std::sqrt(0.5)).epsilon(1e-4));
}

TEST_CASE("scores that are all the same, repeated points and no points are no trouble",
          "[autotune]") {
  const std::vector<Point> points(20, Point{0.3, 0.3});
  const GaussianProcess same(points, std::vector<double>(20, 5.0), 0);
  CHECK(same.At({0.3, 0.3}).mean == Approx(5));
  CHECK(std::isfinite(same.At({1, 1}).deviation));
  const GaussianProcess none({}, {}, 0.8);
  CHECK(none.At({0.5, 0.5}).mean == 0);
  CHECK(none.At({0.5, 0.5}).deviation == 1);
}

TEST_CASE("expected improvement is that of a normal variable", "[autotune]") {
  // At the best's own height: deviation / sqrt(2 pi).
  CHECK(ExpectedImprovement({2, 3}, 2) == Approx(3 / std::sqrt(2 * std::numbers::pi)));
  // One deviation above: 1 * Phi(1) + phi(1).
  CHECK(ExpectedImprovement({1, 1}, 0) == Approx(0.8413447461 + 0.2419707245));
  CHECK(ExpectedImprovement({-1, 1}, 0) == Approx(0.0833154705869));
  CHECK(ExpectedImprovement({5, 0}, 2) == 3);
  CHECK(ExpectedImprovement({1, 0}, 2) == 0);
}

}  // namespace rueda::control
