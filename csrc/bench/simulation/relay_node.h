// RelayNode: a rank with ranks below it, as a node of a virtual network.
//
// Its relay runs for real, with its own rank as child 0. Frames pass down before it reads them. For
// one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/simulation/control_nodes.h"
#include "control/relay.h"
#include "control/request_memo.h"

namespace rueda::bench {

class RelayNode final : public ControlNode {
 public:
  RelayNode(const ControlJob* job, int rank, Duration patience);

  void BeginStep() override;
  size_t frames() const override { return frames_; }
  Status Start(Turn& turn) override;
  Status Receive(int from, const Bytes& bytes, Turn& turn) override;
  Status Idle(Turn& turn) override;

 private:
  // What a relay does; relays at the same depth that do the same pay the same. What is the first in
  // a step opens rounds, and the first message is read in full: they count by themselves.
  enum class Piece { kOwn, kBatch, kShares, kNothing, kForward, kAnswered };
  template <typename Function>
  void Spend(Piece piece, Turn& turn, Function function);
  // What a piece is noted under; counts it in.
  CostKey TakeKey(Piece piece);
  TimePoint Now(const Turn& turn) const { return began_ + turn.now(); }
  Status Gather(int from, const Bytes& bytes, Turn& turn);
  Status PassDown(const Bytes& bytes, Turn& turn);

  const ControlJob* job_;
  const int rank_;
  const int depth_;
  control::RequestMemo memo_;
  control::Relay relay_;
  TimePoint began_{};  // the step
  bool gathering_ = false;
  bool read_ = false;  // a message, in this step
  size_t frames_ = 0;
};

}  // namespace rueda::bench
