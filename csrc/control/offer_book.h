// OfferBook: the coordinator's memory of names, the offers of their current round, and slots.
//
// Bookkeeping without policy: it decides nothing and writes no text. One thread at a time. In the
// steady state (slots offered as bits) nothing is allocated.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "control/bit_set.h"
#include "control/messages.h"
#include "control/offer_key.h"
#include "control/process_sets.h"
#include "core/clock.h"

namespace rueda::control {

class WaitingList;

// One name of one process set. A round begins with the first offer and ends with the answer.
struct Entry {
  OfferKey key;
  ProcessSet* set;
  uint32_t slot = kNoSlot;
  // What each member offered when the slot was agreed: what its bit stands for. Empty: no slot.
  std::vector<SharedRequest> agreed;

  // This round, by member.
  BitSet offered;
  std::vector<SharedRequest> full;  // offers in full; null: a bit or nothing; empty: none was
  SharedRequest first_full;
  TimePoint since{};      // the first offer
  TimePoint latest{};     // the last offer so far
  int last_offerer = -1;  // a rank; of that offer

  // While the round is incomplete: its list, and its neighbours there.
  WaitingList* waits_in = nullptr;
  Entry* previous = nullptr;
  Entry* next = nullptr;

  Entry(OfferKeyView name, ProcessSet& members);
  // As this round's first offer has it, for texts. There must be an offer or a slot.
  OpKind kind() const { return first_full ? first_full->kind : agreed[0]->kind; }
  // Notes an offer in full. Requests that equal the first one share its memory.
  void PutFull(size_t member, const Request& request);
  // The members' offers, bits replaced by what they stand for; null where there is none.
  std::vector<SharedRequest> Offers() const;
  std::vector<int> MissingRanks() const;
};

// Entries whose round is incomplete, oldest first, linked through themselves.
class WaitingList {
 public:
  Entry* front() const { return front_; }
  size_t size() const { return size_; }
  void PushBack(Entry& entry);
  void Remove(Entry& entry);

 private:
  Entry* front_ = nullptr;
  Entry* back_ = nullptr;
  size_t size_ = 0;
};

class OfferBook {
 public:
  explicit OfferBook(size_t slot_capacity) : slot_capacity_(slot_capacity) {}

  // Null if there is none.
  Entry* BySlot(uint32_t slot) const { return slot < slots_.size() ? slots_[slot] : nullptr; }
  Entry* ByName(OfferKeyView key) const;
  Entry& Open(OfferKeyView key, ProcessSet& set);

  // Gives the entry a slot unless it has one or all are taken.
  void AssignSlot(Entry& entry);
  void DropSlot(Entry& entry);
  // Ends the round. An entry without a slot is forgotten and destroyed.
  void Close(Entry& entry);

  // A join may wait for as long as others have data: it is never among the oldest.
  void Wait(Entry& entry, TimePoint now);
  void StopWaiting(Entry& entry);
  // Every entry of a set, with or without a slot.
  std::vector<Entry*> Of(const ProcessSet& set) const;
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
  std::unordered_map<OfferKey, std::unique_ptr<Entry>, OfferKeyHash, OfferKeyEqual> entries_;
  std::vector<Entry*> slots_;  // null: free
  std::vector<uint32_t> free_slots_;
  WaitingList unreported_;
  WaitingList reported_;
  WaitingList joins_;
};

}  // namespace rueda::control
