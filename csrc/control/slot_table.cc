#include "control/slot_table.h"

namespace rueda::control {

uint32_t SlotTable::Find(const std::shared_ptr<const Request>& request) const {
  const auto found = slot_of_.find(OfferKeyView{request->process_set, request->name});
  if (found == slot_of_.end()) return kNoSlot;
  const std::shared_ptr<const Request>& known = entries_[found->second].request;
  if (known == request) return found->second;
  return known != nullptr && *known == *request ? found->second : kNoSlot;
}

void SlotTable::Learn(const std::shared_ptr<const Request>& request, const Response& response) {
  const OfferKeyView key{response.process_set, response.name};
  if (const auto found = slot_of_.find(key); found != slot_of_.end()) Forget(found->second);
  const uint32_t slot = response.slot;
  if (!response.error.ok() || slot >= kMaxSlots) return;
  if (slot >= entries_.size()) entries_.resize(slot + size_t{1});
  Forget(slot);
  entries_[slot] = {request, response};
  slot_of_.emplace(OfferKey(key), slot);
}

void SlotTable::ForgetSet(uint32_t process_set) {
  for (uint32_t slot = 0; slot < entries_.size(); ++slot) {
    if (entries_[slot].response.process_set == process_set) Forget(slot);
  }
}

const Response* SlotTable::Agreed(uint32_t slot) const {
  if (slot >= entries_.size() || entries_[slot].response.slot == kNoSlot) return nullptr;
  return &entries_[slot].response;
}

void SlotTable::Forget(uint32_t slot) {
  Entry& entry = entries_[slot];
  if (entry.response.slot == kNoSlot) return;
  slot_of_.erase(slot_of_.find(OfferKeyView{entry.response.process_set, entry.response.name}));
  entry = {};
}

}  // namespace rueda::control
