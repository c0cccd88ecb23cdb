// Coordinator: rank 0's half of the negotiation, as a pure state machine.
//
// A rank that has joined a set is waited for no longer: what the others offer there runs without
// it, until all have joined. Who joins set 0 is absent from every set.
//
// It is told what ranks offer and what time it is, and answers with frames; it knows no sockets,
// threads or clocks. One thread at a time. A request becomes ready when every member of its process
// set has offered it (I2); disagreement becomes an error response that names each rank's value, and
// the epoch goes on (I3).
//
// A rank that leaves still runs what every member had offered by then. All else that counts on it
// becomes an error response to each rank that offers it, and its own other offers are withdrawn. It
// knows that nothing more comes for it by an error response without a name, kShutDown, to it alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/messages.h"
#include "control/stall.h"
#include "core/types.h"

namespace rueda::control {

struct CoordinatorOptions {
  Limits limits;                 // until SetLimits
  size_t cache_capacity = 8192;  // slots, at most kMaxSlots; requests beyond it travel in full
  Duration stall_warning = std::chrono::seconds(10);  // zero: never warn
  Duration stall_shutdown = Duration::zero();         // zero: never give up
};

class Coordinator {
 public:
  Coordinator(const Topology& topology, CoordinatorOptions options);
  ~Coordinator();
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  // Names a subset of the ranks before anybody offers to it; set 0, all ranks, is always there, and
  // ranks add and remove others by requests. kInvalidArgument if the id is taken, or the ranks are
  // none, repeated or out of range.
  Status AddProcessSet(uint32_t id, const std::vector<int>& ranks);

  // Takes one rank's batch in. `now` never goes back. kCorrupt if it breaks the protocol (unknown
  // slot, the same name offered twice, an offer after leaving): the epoch cannot go on.
  Status Absorb(int from, const Batch& batch, TimePoint now);
  // The same batch from each of `ranks`.
  Status Absorb(const BitSet& ranks, const Batch& batch, TimePoint now);

  // The next frame, if anything is ready or wrong. Cached responses come first, by slot; then full
  // ones in the order in which they became ready; then errors for single ranks. What would make the
  // frame too long waits for the next call: ask until there is none.
  std::optional<Frame> Decide(TimePoint now);
  // The same into `*frame`, whose memory it uses; false if there is none.
  bool Decide(TimePoint now, Frame* frame);

  // What frames carry from the next one on. Bits that ranks offered before stay good: a frame's own
  // limits make its buckets.
  void SetLimits(const Limits& limits);

  // Requests withheld past the warning limit that were not reported before; each is reported once.
  std::vector<Stall> TakeStalls(TimePoint now);
  // All that TakeStalls has told of and that are still withheld, oldest first, and those that are
  // half as old as it asks for: what is about to be told of belongs into the same report.
  std::vector<Stall> OpenStalls(TimePoint now) const;
  StallTally stall_tally() const;
  // When the oldest request is given up, kNever if none is; and the ranks that withhold it.
  TimePoint next_give_up() const;
  std::vector<int> missing_at_give_up() const;
  // What a missing rank is doing, for the errors of requests that are given up: a clause such as
  // "is stopped". Replaces what was said of the rank before.
  void Account(int rank, std::string doing);
  // When Decide or TakeStalls next has something to say if nothing arrives: TimePoint{}, long ago,
  // if Decide has something already, kNever if not at all.
  TimePoint NextDeadline() const;

  // Ranks that can still agree on something: the members, ascending, of sets that nobody has left.
  // Pairs count from their first message on.
  std::vector<int> Dependents() const;
  // True when every rank has left.
  bool Finished() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rueda::control
