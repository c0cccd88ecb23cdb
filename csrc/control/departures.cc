#include "control/departures.h"

#include "control/words.h"

namespace rueda::control {
namespace {

// A reason is repeated in each error that it causes.
constexpr size_t kMaxReasonBytes = kMaxTextBytes / 4;

}  // namespace

void Departures::Leave(int rank, std::string_view reason) {
  reasons_[static_cast<size_t>(rank)] = Clip(reason, kMaxReasonBytes);
  ++left_;
}

Status Departures::Refuse(int rank, bool offered, OpKind kind, std::string_view name) const {
  const std::string& reason = *reasons_[static_cast<size_t>(rank)];
  const std::string before =
      offered ? " left before all ranks had offered " : " left before offering ";
  const std::string why =
      reason.empty()
          ? "it shut down in order. Check that every rank takes the same number of steps."
          : reason;
  return Status(StatusCode::kPeerLeft,
                topology_.Describe(rank) + before + Subject(kind, name) + ": " + why)
      .Blame(rank);
}

Response Departures::Acknowledge(int rank) const {
  Response response;
  response.only_rank = rank;
  response.error = Status(StatusCode::kShutDown, topology_.Describe(rank) + " has left");
  return response;
}

}  // namespace rueda::control
