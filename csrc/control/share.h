// Share: the same batch from several ranks, as a relay passes on what it has gathered.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "control/bit_set.h"
#include "control/messages.h"
#include "core/status.h"

namespace rueda::control {

struct Share {
  BitSet ranks;
  Batch batch;

  bool operator==(const Share&) const = default;
};
using Shares = std::vector<Share>;

std::vector<uint8_t> Encode(const Shares& shares);
// kCorrupt for anything that Encode does not produce from valid values.
// As DecodeBatch.
Result<Shares> DecodeShares(std::span<const uint8_t> bytes, RequestMemo* memo = nullptr);

}  // namespace rueda::control
