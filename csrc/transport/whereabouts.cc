#include "transport/whereabouts.h"

#include <sched.h>

#include <algorithm>
#include <iterator>

namespace rueda::transport {

int CurrentProcessor() { return ::sched_getcpu(); }

Whereabouts::Whereabouts(std::vector<DriversPlace*> places, int own_rank,
                         int (*current_processor)())
    : own_(places[static_cast<size_t>(own_rank)]), current_processor_(current_processor) {
  std::copy_if(places.begin(), places.end(), std::back_inserter(others_),
               [this](const DriversPlace* place) { return place != own_; });
}

bool Whereabouts::PeerIsHere() {
  const uint32_t here = ShowProcessor();
  return here != 0 && std::any_of(others_.begin(), others_.end(), [here](const auto* place) {
           return place->processor.load(std::memory_order_relaxed) == here;
         });
}

// Written only where it has changed, so that the others keep the line in their caches.
uint32_t Whereabouts::ShowProcessor() {
  if (own_ == nullptr) return 0;
  const auto here = static_cast<uint32_t>(current_processor_() + 1);
  if (own_->processor.load(std::memory_order_relaxed) != here) {
    own_->processor.store(here, std::memory_order_relaxed);
  }
  return here;
}

}  // namespace rueda::transport
