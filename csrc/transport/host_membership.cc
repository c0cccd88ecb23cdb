#include "transport/host_membership.h"

namespace rueda::transport {

Result<std::unique_ptr<HostMembership>> HostMembership::Start(const Topology& topology,
                                                              std::vector<ControlPage*> pages,
                                                              std::vector<UniqueFd> pidfds) {
  std::unique_ptr<HostMembership> membership(new HostMembership(topology, std::move(pages)));
  auto watch = PeerWatch::Start(std::move(pidfds),
                                [raw = membership.get()](int rank) { raw->PeerExited(rank); });
  if (!watch.ok()) return watch.status();
  membership->watch_ = std::move(*watch);
  return membership;
}

HostMembership::HostMembership(Topology topology, std::vector<ControlPage*> pages)
    : topology_(std::move(topology)), pages_(std::move(pages)), exited_(pages_.size()) {}

void HostMembership::PeerExited(int rank) {
  exited_[static_cast<size_t>(rank)].store(true, std::memory_order_release);
  pages_[static_cast<size_t>(topology_.rank)]->doorbell.RingAsOwner();
}

Status HostMembership::Check() {
  Status worst;
  for (int rank = 0; rank < static_cast<int>(pages_.size()); ++rank) {
    if (rank == topology_.rank) continue;
    const Status failure = FailureOf(rank);
    if (failure.ok()) continue;
    // A rank that failed because of another is a victim: whom it blames is the cause.
    if (worst.ok() || failure.blamed_rank() != rank) worst = failure;
  }
  return worst;
}

Status HostMembership::FailureOf(int rank) const {
  // exited_ first: a rank announces its end before its process ends.
  const bool exited = exited_[static_cast<size_t>(rank)].load(std::memory_order_acquire);
  const RankState& state = pages_[static_cast<size_t>(rank)]->state;
  switch (state.phase()) {
    case RankState::Phase::kLeft:
      return Status::Ok();
    case RankState::Phase::kFailed:
      return state.failure();
    case RankState::Phase::kRunning:
      break;
  }
  if (!exited) return Status::Ok();
  return Status(StatusCode::kPeerLost,
                topology_.Describe(rank) +
                    " died: its process ended without shutting down. Look at "
                    "what it wrote last, and at the kernel log if it was "
                    "killed for memory.")
      .Blame(rank);
}

void HostMembership::AnnounceLeft() {
  own().SetLeft();
  RingOthers();
}

void HostMembership::AnnounceFailure(const Status& why) {
  own().SetFailed(why);
  RingOthers();
}

bool HostMembership::EveryoneGone() const {
  for (size_t rank = 0; rank < pages_.size(); ++rank) {
    if (static_cast<int>(rank) == topology_.rank) continue;
    if (pages_[rank]->state.phase() == RankState::Phase::kRunning &&
        !exited_[rank].load(std::memory_order_acquire)) {
      return false;
    }
  }
  return true;
}

void HostMembership::RingOthers() {
  for (size_t rank = 0; rank < pages_.size(); ++rank) {
    if (static_cast<int>(rank) != topology_.rank) pages_[rank]->doorbell.Ring();
  }
}

}  // namespace rueda::transport
