// RequestCache: the requests of named calls, kept from one call to the next.
//
// A training loop makes the same calls in every step. A call that is the same as the last one of
// its name gets that one's request: nothing is built, and the engine knows it by its address
// (control::SlotTable). Called with the GIL held, which is its lock.
#pragma once

#include <string_view>
#include <unordered_map>

#include "control/offer_key.h"
#include "control/request.h"

namespace rueda::pytorch {

struct OperationCall;

class RequestCache {
 public:
  // What `call`, whose name may be an automatic one and whose inputs are readable, asks for.
  control::SharedRequest RequestOf(const OperationCall& call, std::string_view name);

 private:
  std::unordered_map<control::OfferKey, control::SharedRequest, control::OfferKeyHash,
                     control::OfferKeyEqual>
      known_;
};

}  // namespace rueda::pytorch
