#include "backends/shm/store_choice.h"

#include <algorithm>

namespace rueda::backends {

void StoreChoice::Measured(int64_t bytes, Duration busy) {
  if (settling_ > 0) {
    --settling_;
    return;
  }
  costs_[static_cast<size_t>(measured_++)] =
      static_cast<double>(busy.count()) / static_cast<double>(std::max<int64_t>(1, bytes));
  if (measured_ < kWindow) return;
  measured_ = 0;
  const auto middle = costs_.begin() + kWindow / 2;
  std::nth_element(costs_.begin(), middle, costs_.end());
  if (trying_) {
    EndTrial(*middle);
  } else {
    EndWindow(*middle);
  }
}

void StoreChoice::EndTrial(double cost) {
  trying_ = false;
  windows_ = 0;
  if (cost < kClearly * cost_) {
    streams_ = !streams_;
    least_ = cost_ = cost;
    pause_ = kLeastPause;
    return;  // nothing changes: all ranks do so already
  }
  least_ = cost_;
  pause_ = std::min(2 * pause_, kMostPause);
  settling_ = kSettling;
}

void StoreChoice::EndWindow(double cost) {
  cost_ = cost;
  least_ = std::min(least_, cost);
  ++windows_;
  const bool alarmed = cost > kAlarm * least_ && windows_ * 16 >= pause_;
  if (windows_ < pause_ && !alarmed) return;
  trying_ = true;
  settling_ = kSettling;
}

}  // namespace rueda::backends
