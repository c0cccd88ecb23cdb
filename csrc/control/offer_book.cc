#include "control/offer_book.h"

namespace rueda::control {

Entry::Entry(OfferKeyView name, ProcessSet& members) : key(name), set(&members) {
  offered.Grow(members.size());
}

void Entry::PutFull(size_t member, const Request& request) {
  full.resize(set->size());
  const bool shares = first_full != nullptr && *first_full == request;
  full[member] = shares ? first_full : std::make_shared<const Request>(request);
  if (first_full == nullptr) first_full = full[member];
}

std::vector<SharedRequest> Entry::Offers() const {
  std::vector<SharedRequest> offers = full;
  offers.resize(set->size());
  for (size_t i = 0; i < offers.size(); ++i) {
    if (offers[i] == nullptr && offered.Contains(i)) offers[i] = agreed[i];
  }
  return offers;
}

std::vector<int> Entry::MissingRanks() const {
  std::vector<int> missing;
  for (size_t i = 0; i < set->size(); ++i) {
    if (!offered.Contains(i)) missing.push_back(set->ranks()[i]);
  }
  return missing;
}

void WaitingList::PushBack(Entry& entry) {
  entry.previous = back_;
  entry.next = nullptr;
  (back_ ? back_->next : front_) = &entry;
  back_ = &entry;
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
  free_slots_.push_back(entry.slot);
  entry.slot = kNoSlot;
  entry.agreed.clear();
}

void OfferBook::Close(Entry& entry) {
  StopWaiting(entry);
  if (entry.slot == kNoSlot) {
    entries_.erase(entries_.find(OfferKeyView{entry.key.process_set, entry.key.name}));
    return;
  }
  entry.offered.Clear();
  entry.full.clear();
  entry.first_full.reset();
}

void OfferBook::Wait(Entry& entry, TimePoint now) {
  entry.since = now;
  entry.waits_in = entry.kind() == OpKind::kJoin ? &joins_ : &unreported_;
  entry.waits_in->PushBack(entry);
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

std::vector<Entry*> OfferBook::Of(const ProcessSet& set) const {
  std::vector<Entry*> all;
  for (const auto& [key, entry] : entries_) {
    if (entry->set == &set) all.push_back(entry.get());
  }
  return all;
}

}  // namespace rueda::control
