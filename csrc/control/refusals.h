// Refusals: the coordinator's reasons for not answering an offer with an agreement, in words.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/offer_book.h"
#include "control/request.h"
#include "core/status.h"
#include "core/types.h"

namespace rueda::control {

// kStalled: who has waited how long for what, and whom for: `missing`, which is not empty. `doing`
// has, by rank, a clause on what is known of some: "is stopped".
Status Stalled(const Topology& topology, const Entry& entry, const std::vector<int>& missing,
               Duration age, const std::map<int, std::string>& doing);

// kInvalidArgument: the process set of `request` is unknown (`set` is null) or `rank` is not in it.
Status NotInSet(int rank, const Request& request, const ProcessSet* set);

// kInvalidArgument: `rank` has joined the set of all ranks, so it will not join this one.
Status WaitsForJoined(int rank, uint32_t process_set);

// kInvalidArgument: `request` changes the process sets, and `absent` ranks have joined.
Status NeedsEveryone(const Request& request, const std::vector<int>& absent);
// kInvalidArgument: the set that `request` removes runs something.
Status SetInUse(const Request& request);
// kInvalidArgument: `entry` was on its way in a set that was removed.
Status SetRemoved(const Entry& entry, uint32_t process_set);

// kInvalidArgument: the answer would not fit a frame.
Status TooLong(const Request& request);

// kCorrupt: "rank 2 <what>: ...".
Status ProtocolBroken(const Topology& topology, int rank, const std::string& what);

}  // namespace rueda::control
