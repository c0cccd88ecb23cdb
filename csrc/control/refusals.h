// Refusals: the coordinator's reasons for not answering an offer with an agreement, in words.
#pragma once

#include <string>

#include "control/offer_book.h"
#include "control/request.h"
#include "core/status.h"
#include "core/types.h"

namespace rueda::control {

// kStalled: who has waited how long for what, and whom for.
Status Stalled(const Topology& topology, const Entry& entry, Duration age);

// kInvalidArgument: the process set of `request` is unknown (`set` is null) or `rank` is not in it.
Status NotInSet(int rank, const Request& request, const ProcessSet* set);

// kInvalidArgument: the answer would not fit a frame.
Status TooLong(const Request& request);

// kCorrupt: "rank 2 <what>: ...".
Status ProtocolBroken(const Topology& topology, int rank, const std::string& what);

}  // namespace rueda::control
