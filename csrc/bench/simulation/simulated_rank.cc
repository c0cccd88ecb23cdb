#include "bench/simulation/simulated_rank.h"

#include <memory>
#include <string>

namespace rueda::bench {

void PlannedSet::Clear() {
  cached.Clear();
  agreed.clear();
  buckets = nullptr;
}

SimulatedRank::SimulatedRank(int rank, const std::map<uint32_t, std::vector<int>>* sets)
    : rank_(rank) {
  for (const auto& [id, ranks] : *sets) {
    if (std::binary_search(ranks.begin(), ranks.end(), rank)) own_sets_[id] = &ranks;
  }
}

void SimulatedRank::Submit(const std::vector<control::SharedRequest>& requests) {
  for (const control::SharedRequest& request : requests) {
    const control::OfferKey key({request->process_set, request->name});
    unsent_.push_back({request.get(), &in_flight_.insert_or_assign(key, request).first->second});
  }
}

size_t SimulatedRank::Recall() const {
  size_t known = 0;
  for (const auto& [key, request] : in_flight_) {
    const uint32_t slot = slots_.Find(request);
    const control::Response* agreed = slots_.Agreed(slot);
    if (agreed != nullptr && agreed->absent.empty() && !request->tensors.empty()) ++known;
  }
  return known;
}

const control::Batch& SimulatedRank::MakeBatch() {
  batch_.Clear();
  for (const auto& [request, shared] : unsent_) {
    const uint32_t slot = request->transient ? control::kNoSlot : slots_.Find(*request);
    if (slot == control::kNoSlot) {
      batch_.requests.push_back(*shared);
      continue;
    }
    batch_.slots.Insert(slot);
    if (offered_by_slot_.size() <= slot) offered_by_slot_.resize(slot + size_t{1});
    offered_by_slot_[slot] = request;
  }
  unsent_.clear();
  return batch_;
}

const std::vector<uint8_t>& SimulatedRank::EncodeBatch() {
  control::Encode(batch_, &encoded_);
  return encoded_;
}

Status SimulatedRank::Receive(std::span<const uint8_t> bytes) {
  RUEDA_RETURN_IF_ERROR(control::DecodeFrame(bytes, &frame_));
  return Take(frame_);
}

Status SimulatedRank::Take(const control::Frame& frame) {
  planned_.Clear();
  RUEDA_RETURN_IF_ERROR(TakeCached(frame));
  for (const control::Response& response : frame.responses) {
    RUEDA_RETURN_IF_ERROR(TakeResponse(response));
  }
  control::Limits limits = frame.limits;
  if (misplans_) limits.bucket_bytes = 1;
  for (PlannedSet& set : planned_) {
    set.buckets = plans_.PlanOf({set.process_set, set.cached, limits}, set.agreed,
                                *own_sets_.at(set.process_set));
  }
  return Status::Ok();
}

Status SimulatedRank::TakeCached(const control::Frame& frame) {
  size_t known = 0;
  for (const auto& [process_set, slots] : slots_.sets()) {
    control::BitSet cached = frame.cached;
    cached.Intersect(slots);
    known += cached.count();
    if (cached.empty() || !own_sets_.contains(process_set)) continue;
    PlannedSet& set = planned_.FindOrAdd(&PlannedSet::process_set, process_set);
    set.cached = cached;
    set.agreed.reserve(cached.count());
    cached.ForEach([&](size_t slot) {
      const auto* offered = slot < offered_by_slot_.size() ? offered_by_slot_[slot] : nullptr;
      if (offered == nullptr) return;
      set.agreed.push_back({offered, slots_.Agreed(static_cast<uint32_t>(slot))});
    });
    if (set.agreed.size() < cached.count()) return NotOffered("slots of other requests");
  }
  return known == frame.cached.count() ? Status::Ok() : NotOffered("slots it was never given");
}

void SimulatedRank::Learn(const control::SharedRequest& request,
                          const control::Response& response) {
  slots_.Learn(request, response);
  plans_.Forget();
}

Status SimulatedRank::TakeResponse(const control::Response& response) {
  if (!response.AddressedTo(rank_)) return Status::Ok();
  if (!response.error.ok()) return response.error;
  if (!own_sets_.contains(response.process_set)) {
    if (response.absent.empty()) Learn(nullptr, response);
    return Status::Ok();
  }
  const auto found = in_flight_.find(control::OfferKeyView{response.process_set, response.name});
  PlannedSet& set = planned_.FindOrAdd(&PlannedSet::process_set, response.process_set);
  if (found == in_flight_.end()) {
    if (!response.IsAbsent(rank_)) return NotOffered("'" + response.name + "'");
    set.agreed.push_back({response.request.get(), &response});
    return Status::Ok();
  }
  if (response.absent.empty()) Learn(found->second, response);
  set.agreed.push_back({found->second.get(), &response});
  return Status::Ok();
}

Status SimulatedRank::NotOffered(const std::string& what) const {
  return {StatusCode::kCorrupt, "rank " + std::to_string(rank_) + " got an answer for " + what +
                                    ", which it did not offer"};
}

void SimulatedRank::Complete() {
  for (const PlannedSet& set : planned_) {
    for (const control::PlannedBucket& bucket : *set.buckets) {
      for (const size_t index : bucket.completes) {
        const auto found = in_flight_.find(
            control::OfferKeyView{set.process_set, set.agreed[index].request->name});
        if (found == in_flight_.end()) continue;  // this rank has joined
        // Not by the answer's slot: one that lacks ranks has none.
        std::replace(offered_by_slot_.begin(), offered_by_slot_.end(),
                     static_cast<const control::Request*>(found->second.get()),
                     static_cast<const control::Request*>(nullptr));
        in_flight_.erase(found);
      }
    }
  }
}

}  // namespace rueda::bench
