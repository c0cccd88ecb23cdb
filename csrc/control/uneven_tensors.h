// Uneven tensors: operations whose ranks may differ in the first dimension.
#pragma once

#include <cstdint>
#include <vector>

#include "control/offers.h"
#include "control/request.h"
#include "core/status.h"

namespace rueda::control {

// Fills in what Response::first_dims says for allgather, gather, alltoall or scatter. `offers` are
// of members of `ranks`; who has joined gives and gets nothing. `first` is one of them; all agree
// in everything but the first dimensions and the parts. kInvalidArgument, in words, for what cannot
// be done.
Status FillFirstDims(const std::vector<int>& ranks, const Offers& offers, const Request& first,
                     std::vector<std::vector<int64_t>>* first_dims);

}  // namespace rueda::control
