// Agree: whether the requests that the members of a set offered under one name fit together.
#pragma once

#include <vector>

#include "control/messages.h"
#include "control/offers.h"
#include "core/types.h"

namespace rueda::control {

// `offers` are of members of `ranks`, by their places there; sorted, and not empty. Who offered
// nothing has joined. Ok: a response with placements, first dimensions and absent ranks filled in
// (no slot yet). Otherwise its error is kMismatch or kInvalidArgument, in words that name the
// tensor, the property, each rank's value, and what to do:
//   "ranks disagree on the shape of 'fc.weight' in allreduce: rank 1 offered [10, 5], ranks 0 and 2
//    [10, 4]. Make the tensor the same on every rank, or give different tensors different names."
Response Agree(const Topology& topology, const std::vector<int>& ranks, const Offers& offers);

}  // namespace rueda::control
