// Withheld: what the coordinator's book says of requests that some ranks have offered and others,
// who are waited for, have not.
//
// Looks and changes nothing. One thread at a time.
#pragma once

#include <vector>

#include "control/offer_book.h"
#include "control/process_sets.h"
#include "control/stall.h"
#include "core/clock.h"

namespace rueda::control {

class Withheld {
 public:
  // Both outlive it. `warning` and `shutdown`: after how long a request is told of, and given up;
  // zero: never.
  Withheld(const OfferBook* book, const ProcessSets* sets, Duration warning, Duration shutdown)
      : book_(book), sets_(sets), warning_(warning), shutdown_(shutdown) {}

  bool warns() const { return warning_ > Duration::zero(); }

  // Ranks that are waited for: neither have they offered it nor joined.
  std::vector<int> MissingFrom(const Entry& entry) const;
  // When the request that has waited longest and was not told of is due to be.
  TimePoint next_warning() const;
  // When the one that has waited longest is given up, and whom it waits for.
  TimePoint next_give_up() const;
  std::vector<int> missing_at_give_up() const;
  // As Coordinator::OpenStalls; none of them is folded.
  std::vector<Stall> OpenStalls(TimePoint now) const;

 private:
  bool gives_up() const { return shutdown_ > Duration::zero(); }
  TimePoint oldest() const;

  const OfferBook* book_;
  const ProcessSets* sets_;
  const Duration warning_;
  const Duration shutdown_;
};

}  // namespace rueda::control
