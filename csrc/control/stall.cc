#include "control/stall.h"

#include <algorithm>
#include <utility>

#include "control/offer_book.h"

namespace rueda::control {

Stall StallOf(const Entry& entry, std::vector<int> missing, TimePoint now) {
  Stall stall;
  stall.name = entry.key.name;
  stall.kind = entry.kind();
  stall.missing_ranks = std::move(missing);
  stall.age = now - entry.since;
  stall.process_set = entry.key.process_set;
  const Request& request = entry.request();
  stall.tensor_count = request.tensors.size();
  if (stall.tensor_count < 2) return stall;
  for (size_t i = 0; i < std::min(kNamedTensors, stall.tensor_count); ++i) {
    stall.tensors.push_back(request.tensors[i].name);
  }
  return stall;
}

}  // namespace rueda::control
