// Slot sets on the wire: as a list or as bits, whichever is shorter.
#pragma once

#include "control/bit_set.h"
#include "control/wire.h"

namespace rueda::control {

void WriteSlots(Writer& writer, const BitSet& slots);

// Slots below kMaxSlots, into a set that is empty; fails for any other form than WriteSlots
// chooses.
void ReadSlots(Reader& reader, BitSet* slots);

}  // namespace rueda::control
