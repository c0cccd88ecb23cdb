// LinkGroup: the links of one process set, whose members are counted by their place in it.
//
// Gloo and our own algorithms speak of places, the links and what users read of ranks. Every set
// uses the same links, one bucket after another in an order that all ranks share, so a message
// needs no name of its set; the slot carries one all the same, to find out ranks that disagree.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "backends/gloo/plugin/peer_links.h"
#include "core/status.h"

namespace rueda::backends {

// For the thread that the links are for; what is constant, for any.
class LinkGroup {
 public:
  // `links` outlive this. `ranks` by place; this rank is one of them.
  LinkGroup(PeerLinks& links, std::vector<int> ranks, uint32_t process_set)
      : links_(links),
        ranks_(std::move(ranks)),
        process_set_(process_set),
        place_(PlaceOf(links.topology().rank)) {}

  int size() const { return static_cast<int>(ranks_.size()); }
  int place() const { return place_; }  // of this rank
  uint32_t process_set() const { return process_set_; }
  PeerLinks& links() const { return links_; }

  int RankOf(int place) const { return ranks_.at(static_cast<size_t>(place)); }
  // -1 for a rank that is not a member.
  int PlaceOf(int rank) const {
    const auto at = std::find(ranks_.begin(), ranks_.end(), rank);
    return at == ranks_.end() ? -1 : static_cast<int>(at - ranks_.begin());
  }
  // "rank 3 (pid 4711 on node7)"
  std::string Describe(int place) const { return links_.topology().Describe(RankOf(place)); }

  // As PeerLinks; completions name ranks.
  Status PostSend(int place, const Transfer& transfer) const {
    return links_.PostSend(RankOf(place), transfer);
  }
  Status PostReceive(int place, const Transfer& transfer) const {
    return links_.PostReceive(RankOf(place), transfer);
  }

 private:
  PeerLinks& links_;
  const std::vector<int> ranks_;
  const uint32_t process_set_;
  const int place_;
};

}  // namespace rueda::backends
