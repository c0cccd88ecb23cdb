// Rounds: the coordinator's rounds of offers, under way and complete, and how each is counted.
//
// A round is complete when every member of its set has offered the name or is absent, which is what
// ranks are that have joined. It is folded (see OfferBook) from its beginning, unless its set may
// have to do without somebody, and until somebody offers it in full.
//
// No answers, no refusals: those are the Coordinator's. One thread at a time.
#pragma once

#include <cstdint>
#include <deque>

#include "control/messages.h"
#include "control/offer_book.h"
#include "control/process_sets.h"
#include "core/types.h"

namespace rueda::control {

class Rounds {
 public:
  // Both outlive it.
  Rounds(const Topology* topology, const ProcessSets* sets, size_t slot_capacity)
      : topology_(topology), sets_(sets), book_(topology->size, slot_capacity) {}

  OfferBook& book() { return book_; }
  const OfferBook& book() const { return book_; }

  // Counts the offers of `slots` from each of `ranks` whose rounds are folded, and answers with the
  // other slots, which stay valid until the next call. kCorrupt if a rank was never given one of
  // its slots, or offers a folded one twice.
  Result<const BitSet*> Count(const BitSet& ranks, const BitSet& slots, TimePoint now);
  // Counts an offer of each of `ranks`, members, into a round that is not folded; `full` is null
  // for bits. kCorrupt if it is the second of one of them. MakeReadyIfComplete is the caller's.
  Status Count(Entry& entry, const BitSet& ranks, const SharedRequest& full, TimePoint now);
  void MakeReadyIfComplete(Entry& entry);

  // The entry counts its round itself, with what was counted of it as bits.
  void Unfold(Entry& entry);
  void UnfoldSince(TimePoint since);
  // All rounds of the sets that `rank` is in.
  void UnfoldSetsOf(int rank);
  // Folds again what may be, when somebody's join has ended.
  void FoldAgain();

  // Ends a round that is not folded, and the entry if it has no slot.
  void Close(Entry& entry);

  bool anything_complete() const {
    return !book_.folded().whole().empty() || !complete_slots_.empty() || !complete_.empty();
  }
  // Moves the complete rounds of bits alone into the frame, and ends them.
  void TakeCached(Frame* frame);
  // The next of the other complete rounds, in the order of completion, or null. The caller closes
  // it.
  Entry* TakeComplete();

  // How many complete rounds had been told of as stalls.
  uint64_t resumed() const { return resumed_; }

 private:
  bool IsComplete(const Entry& entry) const;
  void MakeReady(Entry& entry);
  void FoldIfWhole(Entry& entry);
  Status CheckGiven(const BitSet& ranks, size_t slot) const;
  Status FirstRepeated(const BitSet& ranks, const BitSet& slots) const;
  Status FirstRepeated(const BitSet& ranks, const Entry& entry) const;
  Status Twice(int rank, const Entry& entry) const;

  const Topology* topology_;
  const ProcessSets* sets_;
  OfferBook book_;

  // Complete and not answered, besides what is folded. Bounded by what ranks have in flight, as
  // each waits for its answers.
  BitSet complete_slots_;        // bits alone
  std::deque<Entry*> complete_;  // with offers in full, or without somebody
  uint64_t resumed_ = 0;

  // Kept for their memory.
  BitSet counted_;
  BitSet others_;
  BitSet members_;
};

}  // namespace rueda::control
