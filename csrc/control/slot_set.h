// Slot sets on the wire: as a list or as bits, whichever is shorter.
#pragma once

#include <cstdint>
#include <vector>

#include "control/wire.h"

namespace rueda::control {

// `slots` ascend; a repeated one is written so that reading refuses it.
void WriteSlots(Writer& writer, const std::vector<uint32_t>& slots);

// Ascending slots below kMaxSlots; fails for any other form than WriteSlots chooses.
std::vector<uint32_t> ReadSlots(Reader& reader);

}  // namespace rueda::control
