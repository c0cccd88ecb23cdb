// OfferBook: the coordinator's memory of names, the offers of their current round, and slots.
//
// A name's round is *folded* while all that was offered are bits that SlotRounds counts, and
// *unfolded* when the entry itself says who offered what. Folded rounds allocate nothing.
//
// Bookkeeping without policy: it decides nothing and writes no text. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "control/bit_set.h"
#include "control/messages.h"
#include "control/offer_key.h"
#include "control/offers.h"
#include "control/process_sets.h"
#include "control/slot_rounds.h"
#include "core/clock.h"

namespace rueda::control {

class WaitingList;

// One name of one process set. A round begins with the first offer and ends with the answer.
struct Entry {
  OfferKey key;
  ProcessSet* set;
  uint32_t slot = kNoSlot;
  // What each member offered when the slot was agreed: what its bit stands for. Empty: no slot.
  Offers agreed;

  // This round, unless it is folded; by member.
  BitSet offered;
  Offers full;
  TimePoint since{};      // the first offer
  TimePoint latest{};     // the last offer so far
  int last_offerer = -1;  // a rank; of that offer

  // While the round is incomplete: its list, and its neighbours there.
  WaitingList* waits_in = nullptr;
  Entry* previous = nullptr;
  Entry* next = nullptr;

  Entry(OfferKeyView name, ProcessSet& members);
  // As this round's first offer has it, for texts. There must be an offer or a slot.
  const Request& request() const { return *(full.empty() ? agreed : full).first(); }
  OpKind kind() const { return request().kind; }
  // The members' offers, bits replaced by what they stand for, sorted. The entry has none
  // afterwards.
  Offers TakeOffers();
  Arrival arrival() const { return {last_offerer, latest - since}; }
};

// Entries whose round is incomplete, oldest first, linked through themselves.
class WaitingList {
 public:
  Entry* front() const { return front_; }
  size_t size() const { return size_; }
  void PushBack(Entry& entry);
  // Behind all that have waited as long or longer.
  void Insert(Entry& entry);
  void Remove(Entry& entry);

 private:
  void InsertBehind(Entry* before, Entry& entry);

  Entry* front_ = nullptr;
  Entry* back_ = nullptr;
  size_t size_ = 0;
};

class OfferBook {
 public:
  OfferBook(int ranks, size_t slot_capacity) : slot_capacity_(slot_capacity), folded_(ranks) {}

  // Null if there is none.
  Entry* BySlot(uint32_t slot) const { return slot < slots_.size() ? slots_[slot] : nullptr; }
  Entry* ByName(OfferKeyView key) const;
  Entry& Open(OfferKeyView key, ProcessSet& set);

  // Gives the entry a slot unless it has one or all are taken.
  void AssignSlot(Entry& entry);
  void DropSlot(Entry& entry);
  // Ends the round, which is not folded. An entry without a slot is forgotten and destroyed.
  void Close(Entry& entry);

  // The rounds that are counted as bits. Offers to them, and their ends, are the caller's.
  SlotRounds& folded() { return folded_; }
  const SlotRounds& folded() const { return folded_; }
  // Of these, the slots of the set of all ranks.
  const BitSet& folded_for_all() const { return folded_for_all_; }
  // Between two rounds of an entry with a slot; nothing happens if it is folded already.
  void Fold(Entry& entry);
  // True if the round is under way; then it is among those that wait.
  bool Unfold(Entry& entry);

  // A join may wait for as long as others have data: it is never among the oldest.
  void Wait(Entry& entry, TimePoint since);
  void StopWaiting(Entry& entry);
  // Every entry of a set, with or without a slot.
  std::vector<Entry*> Of(const ProcessSet& set) const;
  // Every entry that has a slot, by slot.
  std::vector<Entry*> WithSlots() const;
  // Moves it to those that TakeStalls has told of.
  void MarkReported(Entry& entry);
  bool IsReported(const Entry& entry) const { return entry.waits_in == &reported_; }
  // How many that TakeStalls has told of still wait.
  size_t reported() const { return reported_.size(); }
  // Those, and what waits since then or longer; oldest first, without joins.
  std::vector<Entry*> WaitingSince(TimePoint since) const;
  Entry* oldest_unreported() const { return unreported_.front(); }
  // Reported ones are older than all others.
  Entry* oldest() const { return reported_.front() ? reported_.front() : unreported_.front(); }
  // All that wait: joins last, the others oldest first.
  std::vector<Entry*> Waiting() const;

 private:
  const size_t slot_capacity_;
  SlotRounds folded_;
  BitSet folded_for_all_;
  std::unordered_map<OfferKey, std::unique_ptr<Entry>, OfferKeyHash, OfferKeyEqual> entries_;
  std::vector<Entry*> slots_;  // null: free
  std::vector<uint32_t> free_slots_;
  WaitingList unreported_;
  WaitingList reported_;
  WaitingList joins_;
};

}  // namespace rueda::control
