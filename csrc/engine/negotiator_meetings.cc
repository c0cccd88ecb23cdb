// Negotiator, second part: what goes to a meeting of all ranks, and what becomes of it.
#include <algorithm>

#include "control/fingerprint.h"
#include "engine/negotiator.h"

namespace rueda::engine {

// A tuner measures how ranks agree, and they do not here.
void Negotiator::SendToMeeting(std::vector<Work*>* offered) {
  if (tuner_ != nullptr) return;
  const auto taken = std::find_if(offered->begin(), offered->end(), [this](Work* work) {
    return work->submission.driven && one_shots_.Take(work, SlotWishOf(*work));
  });
  if (taken != offered->end()) offered->erase(taken);
}

uint64_t Negotiator::SlotWishOf(const Work& work) const {
  const auto& request = work.submission.request;
  const uint32_t slot = request->transient ? control::kNoSlot : slots_.Find(request);
  return slot == control::kNoSlot ? 0 : control::FingerprintOf(frame_, slot);
}

Result<bool> Negotiator::Meet() {
  const OneShotLane::Outcome outcome = one_shots_.Step();
  if (outcome.to_offer != nullptr && !road_->closed()) {
    RUEDA_RETURN_IF_ERROR(OfferInBatches({outcome.to_offer}));
  }
  if (outcome.to_run != nullptr) RUEDA_RETURN_IF_ERROR(RunMet(outcome.to_run));
  return outcome.moved;
}

// What other ranks may run next, because of this one, runs here before anything else.
Status Negotiator::SettleMeeting() {
  if (!one_shots_.MayRun()) return Status::Ok();
  one_shots_.Settle();
  return Meet().status();
}

// All ranks have taken in the same frames, so this is as good as another one, of this slot alone.
Status Negotiator::RunMet(Work* work) {
  const uint32_t slot = slots_.Find(work->submission.request);
  RememberOffer(slot, work);
  met_.cached.Clear();
  met_.cached.Insert(slot);
  return Run(met_);
}

}  // namespace rueda::engine
