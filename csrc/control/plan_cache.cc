#include "control/plan_cache.h"

#include <algorithm>

namespace rueda::control {

SharedPlan PlanCache::PlanOf(const Round& round, std::span<const AgreedRequest> agreed,
                             std::span<const int> ranks) {
  const auto make = [&] {
    return std::make_shared<const std::vector<PlannedBucket>>(Plan(agreed, ranks, round.limits));
  };
  if (round.slots.count() != agreed.size()) return make();
  const auto known =
      std::ranges::find_if(entries_, [&](const Entry& entry) { return entry.IsOf(round); });
  if (known != entries_.end()) return known->plan;
  Entry& entry = entries_[next_];
  next_ = (next_ + 1) % entries_.size();
  entry = {round.process_set, round.slots, round.limits, make()};
  return entry.plan;
}

void PlanCache::Forget() {
  for (Entry& entry : entries_) entry.plan = nullptr;
}

}  // namespace rueda::control
