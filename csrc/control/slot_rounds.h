// SlotRounds: the coordinator's count of offers that are bits, 64 slots at a time.
//
// A round of a slot begins with its first offer and is whole when every member has offered it. For
// each slot the number of offers that are missing is kept bit-sliced: word p of 64 slots holds bit
// p of each of their numbers, so one subtraction counts an offer of 64 slots (vertical counters:
// Warren, Hacker's Delight, 2nd edition, chapter 5). What ranks offered is a bit a rank and slot.
//
// Bookkeeping without policy: which slots are counted here, and for how many, it is told. One
// thread at a time. Nothing is allocated but for new slots.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "control/bit_set.h"
#include "control/messages.h"
#include "core/clock.h"

namespace rueda::control {

class SlotRounds {
 public:
  explicit SlotRounds(int ranks);

  // Rounds of `slot` are counted here from now on; they are whole after `members` offers.
  void Open(uint32_t slot, size_t members);
  // From now on they are not. Answers with the ranks whose offers of the round under way were
  // counted, none if there is none.
  BitSet Close(uint32_t slot);
  bool HasOffered(uint32_t slot, int rank) const;
  bool IsOpen(uint32_t slot) const { return open_.Contains(slot); }
  const BitSet& open() const { return open_; }

  // Every one of `ranks` offers all of `slots`, which are open. False, and nothing is counted, if
  // one of them has offered one of these in this round.
  bool Offer(const BitSet& ranks, const BitSet& slots, TimePoint now);

  // Rounds that are whole, until Restart.
  const BitSet& whole() const { return whole_; }
  // Not known while a round is not whole.
  const Arrival& ArrivalOf(size_t slot) const { return arrivals_[slot]; }
  // What is whole has been answered: new rounds.
  void Restart();

  // When the round under way began.
  TimePoint since(size_t slot) const { return since_[slot]; }
  // The least of that over the rounds that are not whole, kNever if there is none.
  TimePoint oldest() const;
  // Those that began at `since` or before, by slot.
  std::vector<uint32_t> WaitingSince(TimePoint since) const;

 private:
  using Word = BitSet::Word;

  void Grow(size_t words);
  void Begin(size_t at, Word bits, TimePoint now);
  // Offers of `bits` in word `at` by `offers` ranks; which of them are whole now.
  Word CountDown(size_t at, Word bits, size_t offers);
  Word* MissingIn(size_t at) { return &missing_[at * planes_]; }
  const Word* NeededIn(size_t at) const { return &needed_[at * planes_]; }
  Word* OfferedIn(size_t at) { return &offered_[at * ranks_]; }
  template <typename Function>
  void ForEachWaiting(Function function) const;

  const size_t ranks_;
  const size_t planes_;  // bits of a number of offers
  size_t words_ = 0;

  std::vector<Word> missing_;  // by word of slots, then by plane
  std::vector<Word> needed_;   // the same when a round begins
  std::vector<Word> offered_;  // by word of slots, then by rank
  BitSet open_;
  BitSet begun_;
  BitSet whole_;
  std::vector<TimePoint> since_;   // by slot
  std::vector<Arrival> arrivals_;  // by slot
};

}  // namespace rueda::control
