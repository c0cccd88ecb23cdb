#include "control/relay.h"

#include <algorithm>
#include <utility>

namespace rueda::control {
namespace {

// Adds the ranks to the share of those who offer the same, to a new one if there is none.
void Add(const BitSet& ranks, const Batch& batch, Shares* shares) {
  const auto same = std::ranges::find(*shares, batch, &Share::batch);
  if (same != shares->end()) return same->ranks.Unite(ranks);
  shares->push_back({ranks, batch});
}

void AddSlots(const BitSet& ranks, const BitSet& slots, Shares* shares) {
  const auto same = std::ranges::find(
      *shares, slots, [](const Share& share) -> const BitSet& { return share.batch.slots; });
  if (same != shares->end()) return same->ranks.Unite(ranks);
  Share& share = shares->emplace_back();
  share.ranks = ranks;
  share.batch.slots = slots;
}

}  // namespace

void Relay::Absorb(size_t child, Shares shares, TimePoint now) {
  for (Share& share : shares) {
    oldest_ = std::min(oldest_, now);
    for (const SharedRequest& request : share.batch.requests) {
      AbsorbRequest(child, share.ranks, request);
    }
    if (share.batch.leave_reason) {
      somebody_left_ = true;
      Batch last;
      last.leave_reason = std::move(share.batch.leave_reason);
      Add(share.ranks, last, &leaving_);
    }
    if (share.batch.slots.empty()) continue;
    children_[child].held.Unite(share.batch.slots);
    all_held_.Unite(share.batch.slots);
    held_.push_back({child, std::move(share.ranks), std::move(share.batch.slots)});
  }
}

void Relay::AbsorbRequest(size_t child, const BitSet& ranks, const SharedRequest& request) {
  const OfferKeyView key{request->process_set, request->name};
  auto at = named_.find(key);
  if (at == named_.end()) {
    at = named_.try_emplace(OfferKey(key)).first;
    at->second.number = arrivals_++;
    at->second.is_join = request->kind == OpKind::kJoin;
    joins_ += at->second.is_join ? 1 : 0;
  }
  at->second.by.Insert(child);
  at->second.offers.Add(ranks, request);
}

Shares Relay::Forward(TimePoint now) {
  Shares up;
  if (oldest_ == kNever) return up;
  const bool everything = joins_ > 0 || somebody_left_ || NextDeadline() <= now;
  PassSlots(SlotsToPass(everything), &up);
  PassRequests(everything, &up);
  for (Share& share : leaving_) up.push_back(std::move(share));
  leaving_.clear();
  if (!HoldsAnything()) oldest_ = kNever;
  return up;
}

bool Relay::HoldsAnything() const {
  return !held_.empty() || std::any_of(named_.begin(), named_.end(), [](const auto& named) {
    return !named.second.offers.empty();
  });
}

const BitSet& Relay::SlotsToPass(bool everything) {
  ready_ = all_held_;
  if (everything || ready_.empty()) return ready_;
  // Whom everything waited for the last time is asked first: while it is late, that is all.
  for (size_t i = 0; i < children_.size(); ++i) {
    const size_t asked = (first_asked_ + i) % children_.size();
    LeaveOutLate(children_[asked], &ready_);
    if (!ready_.empty()) continue;
    first_asked_ = asked;
    break;
  }
  return ready_;
}

// What the child usually offers and has not offered yet.
void Relay::LeaveOutLate(const Child& child, BitSet* slots) {
  for (size_t at = 0; at < slots->words().size(); ++at) {
    const BitSet::Word late =
        child.usual.WordAt(at) & ~child.held.WordAt(at) & ~child.passed.WordAt(at);
    slots->SetWord(at, slots->words()[at] & ~late);
  }
}

void Relay::PassSlots(const BitSet& slots, Shares* up) {
  if (slots.empty()) return;
  all_held_.Subtract(slots);
  for (Held& held : held_) {
    part_ = held.slots;
    part_.Intersect(slots);
    if (part_.empty()) continue;
    held.slots.Subtract(part_);
    children_[held.child].passed.Unite(part_);
    children_[held.child].held.Subtract(part_);
    AddSlots(held.ranks, part_, up);
  }
  std::erase_if(held_, [](const Held& held) { return held.slots.empty(); });
}

void Relay::PassRequests(bool everything, Shares* up) {
  std::vector<Named*> passed;
  for (auto& [key, named] : named_) {
    const bool ready = everything || key.process_set != 0 || named.by.count() == children_.size();
    if (ready && !named.offers.empty()) passed.push_back(&named);
  }
  std::ranges::sort(passed, {}, &Named::number);
  for (Named* named : passed) {
    for (const Offers::Variant& variant : named->offers.variants()) {
      // What the same ranks offer travels together.
      auto same = std::ranges::find(*up, variant.by, &Share::ranks);
      if (same == up->end()) same = up->insert(up->end(), Share{variant.by, {}});
      same->batch.requests.push_back(variant.request);
    }
    named->offers.Clear();
  }
}

void Relay::Answered(const Frame& frame) {
  for (Child& child : children_) {
    BitSet offered = child.passed;
    offered.Intersect(frame.cached);
    child.usual.Subtract(frame.cached);
    child.usual.Unite(offered);
    child.passed.Subtract(frame.cached);
  }
  for (const Response& response : frame.responses) {
    const auto named = named_.find(OfferKeyView{response.process_set, response.name});
    for (size_t i = 0; i < children_.size() && response.slot != kNoSlot; ++i) {
      const bool offered = children_[i].passed.Remove(response.slot) ||
                           (named != named_.end() && named->second.by.Contains(i));
      offered ? children_[i].usual.Insert(response.slot) : children_[i].usual.Remove(response.slot);
    }
    if (named == named_.end() || !named->second.offers.empty()) continue;
    joins_ -= named->second.is_join ? 1 : 0;
    named_.erase(named);
  }
}

}  // namespace rueda::control
