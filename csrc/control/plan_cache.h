// PlanCache: plans of rounds that come again.
//
// A round of slots alone is planned from what was agreed for them, which changes only when a slot
// table learns or forgets something. So the same slots under the same limits have the same plan.
// One thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "control/bit_set.h"
#include "control/planner.h"

namespace rueda::control {

using SharedPlan = std::shared_ptr<const std::vector<PlannedBucket>>;

class PlanCache {
 public:
  // What a round is, besides what was agreed for its slots.
  struct Round {
    uint32_t process_set = 0;
    const BitSet& slots;  // of its first requests
    const Limits& limits;
  };

  // Plan(agreed, ranks, round.limits): from the cache if all of it are slots and it was asked for
  // since Forget.
  SharedPlan PlanOf(const Round& round, std::span<const AgreedRequest> agreed,
                    std::span<const int> ranks);

  // What was agreed for some slot has changed.
  void Forget();

 private:
  struct Entry {
    uint32_t process_set = 0;
    BitSet slots;
    Limits limits;
    SharedPlan plan;  // null: free

    bool IsOf(const Round& round) const {
      return plan != nullptr && process_set == round.process_set && slots == round.slots &&
             limits == round.limits;
    }
  };
  // A step has few different rounds; the oldest plan gives way.
  std::array<Entry, 16> entries_;
  size_t next_ = 0;
};

}  // namespace rueda::control
