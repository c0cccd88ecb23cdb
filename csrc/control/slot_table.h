// SlotTable: one rank's memory of what was agreed, so that an offer can be one slot number.
//
// One thread at a time (the engine's). Learns from the frames of its own epoch alone.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "control/messages.h"
#include "control/offer_key.h"

namespace rueda::control {

class SlotTable {
 public:
  // The slot of `request` if exactly it was agreed before, else kNoSlot: offer it in full. The same
  // shared request is recognised by its address, without comparing.
  uint32_t Find(const Request& request) const {
    const uint32_t noted = request.notes.slot();
    if (noted < requests_.size() && requests_[noted] == &request) return noted;
    return FindByName(request);
  }
  uint32_t Find(const SharedRequest& request) const { return Find(*request); }

  // Takes in a full response to `request`: remembers it under its slot, or forgets the name when
  // the response has an error or no slot (one that lacks ranks says nothing of slots: it is not for
  // this table). `request` is null when this rank is not in the process
  // set: it must know such slots too, because frames name them. Errors addressed to another rank
  // (Response::AddressedTo) are not for this table.
  void Learn(const std::shared_ptr<const Request>& request, const Response& response);

  // The slots that are known of each process set.
  const std::map<uint32_t, BitSet>& sets() const { return sets_; }

  // Forgets all slots of a process set, which was removed.
  void ForgetSet(uint32_t process_set);

  // What was agreed for a slot that a cached response names, or null: the frame is corrupt. Valid
  // until something is learned about the same name or slot, which no frame does that also names the
  // slot as cached.
  const Response* Agreed(uint32_t slot) const {
    return slot < responses_.size() ? responses_[slot] : nullptr;
  }

 private:
  struct Entry {
    std::shared_ptr<const Request> request;
    Response response;  // its slot is kNoSlot when the entry is free
  };
  uint32_t FindByName(const Request& request) const;
  void Forget(uint32_t slot);

  std::unordered_map<OfferKey, uint32_t, OfferKeyHash, OfferKeyEqual> slot_of_;
  std::map<uint32_t, BitSet> sets_;
  std::deque<Entry> entries_;  // by slot; a deque, so that growing moves no entry
  // What entries hold, side by side: every step looks at all of them. Null: free, or unknown.
  std::vector<const Request*> requests_;
  std::vector<const Response*> responses_;
};

}  // namespace rueda::control
