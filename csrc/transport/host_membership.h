// HostMembership: the members are processes of this host that map each other's arenas.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "core/types.h"
#include "transport/control_page.h"
#include "transport/membership.h"
#include "transport/peer_watch.h"

namespace rueda::transport {

class HostMembership final : public Membership {
 public:
  // `pages` are the control pages by rank and outlive the membership; `pidfds` are by rank, an
  // invalid one is not watched (the own one, and all in tests whose ranks are threads).
  static Result<std::unique_ptr<HostMembership>> Start(const Topology& topology,
                                                       std::vector<ControlPage*> pages,
                                                       std::vector<UniqueFd> pidfds);

  Status Check() override;
  void AnnounceLeft() override;
  void AnnounceFailure(const Status& why) override;
  bool EveryoneGone() const override;
  int64_t LocalPid(int rank) const override { return watch_->LocalPid(rank); }
  void AbandonInForkedChild() override { watch_->AbandonInForkedChild(); }

  // The process of `rank` ended. Any thread.
  void PeerExited(int rank);

 private:
  HostMembership(Topology topology, std::vector<ControlPage*> pages);
  RankState& own() { return pages_[static_cast<size_t>(topology_.rank)]->state; }
  Status FailureOf(int rank) const;
  void RingOthers();

  const Topology topology_;
  const std::vector<ControlPage*> pages_;
  std::vector<std::atomic<bool>>
      exited_;                        // by rank; release after, acquire before, reading its state
  std::unique_ptr<PeerWatch> watch_;  // last: its thread uses what is above
};

}  // namespace rueda::transport
