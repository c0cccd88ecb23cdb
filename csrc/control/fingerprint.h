// FingerprintOf: all that ranks have to agree on in a request, in 64 bits.
#pragma once

#include <cstdint>

#include "control/request.h"

namespace rueda::control {

// Equal for requests that agree, also of other processes and machines; never 0. Different ones are
// told apart but for a chance of 2^-64. Where a rank's tensors lie is no part of it. Pure.
uint64_t FingerprintOf(const Request& request);

// Of what is known by a slot, to ranks that have taken in frames up to number `frame`: there the
// slot means the same to all. Likewise never 0. Pure.
uint64_t FingerprintOf(uint64_t frame, uint32_t slot);

}  // namespace rueda::control
