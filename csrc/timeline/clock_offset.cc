#include "timeline/clock_offset.h"

#include <algorithm>

namespace rueda::timeline {

void ClockOffset::Add(const ClockExchange& exchange) {
  if (exchange.way() < 0 || exchange.answered < exchange.heard) return;
  last_[count_++ % kExchanges] = exchange;
}

const ClockExchange& ClockOffset::best() const {
  const auto end = last_.begin() + static_cast<std::ptrdiff_t>(std::min(count_, kExchanges));
  return *std::min_element(last_.begin(), end, [](const ClockExchange& a, const ClockExchange& b) {
    return a.way() < b.way();
  });
}

int64_t ClockOffset::measured() const {
  if (!known()) return 0;
  const ClockExchange& exchange = best();
  return ((exchange.asked - exchange.heard) + (exchange.received - exchange.answered)) / 2;
}

int64_t ClockOffset::error() const { return known() ? best().way() / 2 : 0; }

int64_t ClockOffset::offset() const {
  const int64_t found = measured();
  const bool zero_agrees = std::max(found, -found) <= error() + 1;  // both were rounded down
  return zero_agrees ? 0 : found;
}

}  // namespace rueda::timeline
