#include "control/slot_table.h"

namespace rueda::control {

uint32_t SlotTable::FindByName(const Request& request) const {
  const auto found = slot_of_.find(OfferKeyView{request.process_set, request.name});
  if (found == slot_of_.end()) return kNoSlot;
  const Request* const known = entries_[found->second].request.get();
  if (known == &request) return found->second;
  return known != nullptr && *known == request ? found->second : kNoSlot;
}

void SlotTable::Learn(const std::shared_ptr<const Request>& request, const Response& response) {
  const OfferKeyView key{response.process_set, response.name};
  if (const auto found = slot_of_.find(key); found != slot_of_.end()) Forget(found->second);
  const uint32_t slot = response.slot;
  if (!response.error.ok() || slot >= kMaxSlots) return;
  if (slot >= entries_.size()) {
    entries_.resize(slot + size_t{1});
    requests_.resize(entries_.size());
    responses_.resize(entries_.size());
  }
  Forget(slot);
  Entry& entry = entries_[slot];
  entry = {request, response};
  requests_[slot] = request.get();
  responses_[slot] = &entry.response;
  slot_of_.emplace(OfferKey(key), slot);
  sets_[response.process_set].Insert(slot);
  if (request != nullptr) request->notes.SetSlot(slot);
}

void SlotTable::ForgetSet(uint32_t process_set) {
  const auto set = sets_.find(process_set);
  if (set == sets_.end()) return;
  const BitSet slots = set->second;
  slots.ForEach([this](size_t slot) { Forget(static_cast<uint32_t>(slot)); });
  sets_.erase(process_set);
}

void SlotTable::Forget(uint32_t slot) {
  Entry& entry = entries_[slot];
  if (entry.response.slot == kNoSlot) return;
  sets_[entry.response.process_set].Remove(slot);
  slot_of_.erase(slot_of_.find(OfferKeyView{entry.response.process_set, entry.response.name}));
  entry = {};
  requests_[slot] = nullptr;
  responses_[slot] = nullptr;
}

}  // namespace rueda::control
