// Departures: which ranks have left, why, and how that is told to them and to the others.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/messages.h"
#include "core/status.h"
#include "core/types.h"

namespace rueda::control {

class Departures {
 public:
  explicit Departures(const Topology& topology)
      : topology_(topology), reasons_(static_cast<size_t>(topology.size)) {}

  void Leave(int rank, std::string_view reason);
  bool HasLeft(int rank) const { return reasons_[static_cast<size_t>(rank)].has_value(); }
  bool AllLeft() const { return left_ == topology_.size; }

  // kPeerLeft: `rank` left before offering this, or (`offered`) before all others had.
  Status Refuse(int rank, bool offered, OpKind kind, std::string_view name) const;
  // kShutDown without a name, to `rank` alone: it has left.
  Response Acknowledge(int rank) const;

 private:
  const Topology& topology_;
  // Why each rank that has left did; not set while it is here.
  std::vector<std::optional<std::string>> reasons_;
  int left_ = 0;
};

}  // namespace rueda::control
