#include "control/step_watch.h"

#include <utility>

#include "control/offer_key.h"

namespace rueda::control {
namespace {

bool Moves(const Request& request) { return !request.tensors.empty(); }

}  // namespace

std::optional<Step> StepWatch::Submitted(const Request& request, TimePoint now) {
  if (!Moves(request)) return std::nullopt;
  std::optional<Step> ended;
  // Two names of one hash end a step too early once in a blue moon: one sample among many.
  const size_t name = OfferKeyHash()(OfferKeyView{request.process_set, request.name});
  if (!request.transient && !names_.insert(name).second) {
    ended = std::exchange(step_, {});
    // Where steps overlap, one ends where the next begins.
    ended->span = (in_flight_ > 0 ? now : last_result_) - began_;
    names_ = {name};
  }
  if (step_.works == 0) began_ = now;
  ++step_.works;
  for (const TensorSpec& tensor : request.tensors) {
    step_.bytes += static_cast<int64_t>(tensor.bytes());
  }
  ++in_flight_;
  return ended;
}

void StepWatch::Completed(const Request& request, TimePoint now) {
  if (!Moves(request)) return;
  --in_flight_;
  last_result_ = now;
}

}  // namespace rueda::control
