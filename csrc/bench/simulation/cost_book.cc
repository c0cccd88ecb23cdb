#include "bench/simulation/cost_book.h"

#include <algorithm>

namespace rueda::bench {

Duration CostMeter::OverheadOf(const Clock& clock) {
  constexpr int kReadings = 1000;
  Duration least = Duration::max();
  for (int i = 0; i < kReadings; ++i) {
    const TimePoint began = clock.Now();
    least = std::min<Duration>(least, clock.Now() - began);
  }
  return least;
}

Duration CostBook::Note(const CostKey& key, Duration measured) {
  Entry& entry = entries_[key.bits()];
  entry.last[entry.count++ % kKept] = measured;
  return MedianOf(entry);
}

Duration CostBook::Of(const CostKey& key) const {
  const auto found = entries_.find(key.bits());
  return found == entries_.end() ? Duration::zero() : MedianOf(found->second);
}

// The lower one of two in the middle.
Duration CostBook::MedianOf(const Entry& entry) {
  std::array<Duration, kKept> sorted = entry.last;
  const auto count = static_cast<ptrdiff_t>(std::min(entry.count, kKept));
  const auto middle = sorted.begin() + (count - 1) / 2;
  std::nth_element(sorted.begin(), middle, sorted.begin() + count);
  return *middle;
}

}  // namespace rueda::bench
