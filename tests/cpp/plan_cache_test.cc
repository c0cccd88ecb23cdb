// PlanCache: the same plan for the same round, and another one for any other.
#include "control/plan_cache.h"

#include <catch2/catch.hpp>
#include <vector>

#include "control_samples.h"

namespace rueda::control {
namespace {

struct Key {
  uint32_t process_set = 0;
  BitSet slots;
  Limits limits;
};

class Rounds {
 public:
  Rounds() {
    for (const char* name : {"x", "y"}) requests_.push_back(Allreduce(name));
    for (const Request& request : requests_) responses_.push_back(Agreed(request.name));
    for (size_t i = 0; i < requests_.size(); ++i) {
      agreed_.push_back({&requests_[i], &responses_[i]});
    }
  }
  SharedPlan PlanOf(PlanCache& cache, const Key& key) const {
    return cache.PlanOf({key.process_set, key.slots, key.limits},
                        std::span(agreed_).first(key.slots.count()), ranks_);
  }
  SharedPlan PlanOfBoth(PlanCache& cache, const PlanCache::Round& round) const {
    return cache.PlanOf(round, agreed_, ranks_);
  }

 private:
  const std::vector<int> ranks_{0, 1};
  std::vector<Request> requests_;
  std::vector<Response> responses_;
  std::vector<AgreedRequest> agreed_;
};

}  // namespace

TEST_CASE("a plan is kept until something is learned", "[planner]") {
  const Rounds rounds;
  PlanCache cache;
  const Key both{0, {3, 7}, {}};
  const SharedPlan plan = rounds.PlanOf(cache, both);
  REQUIRE(plan->size() == 1);
  CHECK(plan->front().slices.size() == 2);
  CHECK(rounds.PlanOf(cache, both) == plan);
  cache.Forget();
  CHECK(rounds.PlanOf(cache, both) != plan);
  CHECK(plan->front().slices.size() == 2);  // whoever holds it keeps it
}

TEST_CASE("other slots, limits or sets have other plans", "[planner]") {
  const Rounds rounds;
  PlanCache cache;
  const Key both{0, {3, 7}, {}};
  const SharedPlan plan = rounds.PlanOf(cache, both);
  Key other = both;
  other.slots = {3};
  CHECK(rounds.PlanOf(cache, other)->front().slices.size() == 1);
  other = both;
  other.process_set = 1;
  CHECK(rounds.PlanOf(cache, other) != plan);
  other = both;
  other.limits.bucket_bytes = 0;
  CHECK(rounds.PlanOf(cache, other)->size() == 2);
  CHECK(rounds.PlanOf(cache, both) == plan);
}

TEST_CASE("a round with more than slots is planned anew each time", "[planner]") {
  const Rounds rounds;
  PlanCache cache;
  const BitSet slots{3};
  const Limits limits;
  const SharedPlan plan = rounds.PlanOfBoth(cache, {0, slots, limits});
  REQUIRE(plan->size() == 1);
  CHECK(plan->front().slices.size() == 2);
  CHECK(rounds.PlanOfBoth(cache, {0, slots, limits}) != plan);
}

TEST_CASE("the oldest plan gives way to new ones", "[planner]") {
  const Rounds rounds;
  PlanCache cache;
  const SharedPlan oldest = rounds.PlanOf(cache, {0, {0}, {}});
  SharedPlan newest;
  for (uint32_t slot = 1; slot < 100; ++slot) newest = rounds.PlanOf(cache, {0, {slot}, {}});
  CHECK(rounds.PlanOf(cache, {0, {99}, {}}) == newest);
  CHECK(rounds.PlanOf(cache, {0, {0}, {}}) != oldest);
}

}  // namespace rueda::control
