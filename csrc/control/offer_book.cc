#include "control/offer_book.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace rueda::control {

Entry::Entry(OfferKeyView name, ProcessSet& members) : key(name), set(&members) {}

Offers Entry::TakeOffers() {
  Offers offers = std::exchange(full, {});
  BitSet as_bits = offered;
  for (const Offers::Variant& variant : offers.variants()) as_bits.Subtract(variant.by);
  offers.AddFrom(agreed, as_bits);
  offers.Sort();
  return offers;
}

void WaitingList::PushBack(Entry& entry) { InsertBehind(back_, entry); }

void WaitingList::Insert(Entry& entry) {
  Entry* before = back_;
  while (before != nullptr && before->since > entry.since) before = before->previous;
  InsertBehind(before, entry);
}

void WaitingList::InsertBehind(Entry* before, Entry& entry) {
  entry.previous = before;
  entry.next = before ? before->next : front_;
  (before ? before->next : front_) = &entry;
  (entry.next ? entry.next->previous : back_) = &entry;
  ++size_;
}

void WaitingList::Remove(Entry& entry) {
  (entry.previous ? entry.previous->next : front_) = entry.next;
  (entry.next ? entry.next->previous : back_) = entry.previous;
  entry.previous = nullptr;
  entry.next = nullptr;
  --size_;
}

Entry* OfferBook::ByName(OfferKeyView key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : found->second.get();
}

Entry& OfferBook::Open(OfferKeyView key, ProcessSet& set) {
  auto entry = std::make_unique<Entry>(key, set);
  return *entries_.emplace(OfferKey(key), std::move(entry)).first->second;
}

void OfferBook::AssignSlot(Entry& entry) {
  if (entry.slot != kNoSlot) return;
  if (!free_slots_.empty()) {
    entry.slot = free_slots_.back();
    free_slots_.pop_back();
  } else if (slots_.size() < slot_capacity_) {
    entry.slot = static_cast<uint32_t>(slots_.size());
    slots_.push_back(nullptr);
  } else {
    return;
  }
  slots_[entry.slot] = &entry;
}

void OfferBook::DropSlot(Entry& entry) {
  if (entry.slot == kNoSlot) return;
  // The number may be given away at once: every member has offered, so none can name it again
  // before it has read the frame that drops it.
  slots_[entry.slot] = nullptr;
  folded_.Close(entry.slot);
  folded_for_all_.Remove(entry.slot);
  free_slots_.push_back(entry.slot);
  entry.slot = kNoSlot;
  entry.agreed.Clear();
}

void OfferBook::Close(Entry& entry) {
  StopWaiting(entry);
  if (entry.slot == kNoSlot) {
    entries_.erase(entries_.find(OfferKeyView{entry.key.process_set, entry.key.name}));
    return;
  }
  entry.offered.Clear();
  entry.full.Clear();
}

void OfferBook::Fold(Entry& entry) {
  if (folded_.IsOpen(entry.slot)) return;
  folded_.Open(entry.slot, entry.set->size());
  if (entry.key.process_set == 0) folded_for_all_.Insert(entry.slot);
}

bool OfferBook::Unfold(Entry& entry) {
  if (entry.slot == kNoSlot || !folded_.IsOpen(entry.slot)) return false;
  const TimePoint since = folded_.since(entry.slot);
  const Arrival arrival = folded_.ArrivalOf(entry.slot);
  const BitSet ranks = folded_.Close(entry.slot);
  folded_for_all_.Remove(entry.slot);
  if (ranks.empty()) return false;
  ranks.ForEach([&](size_t rank) {
    entry.offered.Insert(static_cast<size_t>(entry.set->MemberOf(static_cast<int>(rank))));
  });
  entry.last_offerer = arrival.last_offerer;
  entry.latest = since + arrival.spread;
  Wait(entry, since);
  return true;
}

void OfferBook::Wait(Entry& entry, TimePoint since) {
  entry.since = since;
  entry.waits_in = entry.kind() == OpKind::kJoin ? &joins_ : &unreported_;
  entry.waits_in->Insert(entry);
}

void OfferBook::StopWaiting(Entry& entry) {
  if (entry.waits_in == nullptr) return;
  entry.waits_in->Remove(entry);
  entry.waits_in = nullptr;
}

void OfferBook::MarkReported(Entry& entry) {
  unreported_.Remove(entry);
  entry.waits_in = &reported_;
  reported_.PushBack(entry);
}

std::vector<Entry*> OfferBook::Waiting() const {
  std::vector<Entry*> all;
  for (const WaitingList* list : {&reported_, &unreported_, &joins_}) {
    for (Entry* entry = list->front(); entry; entry = entry->next) all.push_back(entry);
  }
  return all;
}

std::vector<Entry*> OfferBook::WaitingSince(TimePoint since) const {
  std::vector<Entry*> all;
  for (Entry* entry = reported_.front(); entry; entry = entry->next) all.push_back(entry);
  for (Entry* entry = unreported_.front(); entry && entry->since <= since; entry = entry->next) {
    all.push_back(entry);
  }
  return all;
}

std::vector<Entry*> OfferBook::WithSlots() const {
  std::vector<Entry*> all;
  std::copy_if(slots_.begin(), slots_.end(), std::back_inserter(all),
               [](const Entry* entry) { return entry != nullptr; });
  return all;
}

std::vector<Entry*> OfferBook::Of(const ProcessSet& set) const {
  std::vector<Entry*> all;
  for (const auto& [key, entry] : entries_) {
    if (entry->set == &set) all.push_back(entry.get());
  }
  return all;
}

}  // namespace rueda::control
