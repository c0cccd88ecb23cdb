// RootNode and LeafNode: rank 0 with the coordinator, and a rank with nobody below it, as nodes of
// a virtual network.
//
// The root's pieces run for real in the order in which messages come to it. For one thread.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "bench/simulation/control_shape.h"
#include "bench/simulation/control_workload.h"
#include "bench/simulation/cost_book.h"
#include "bench/simulation/rank_sample.h"
#include "bench/simulation/virtual_network.h"
#include "control/coordinator.h"
#include "control/request_memo.h"

namespace rueda::bench {

// When the parts of a step ended, in its virtual time.
struct StepTimes {
  Duration absorbed{};    // the last offer, by the coordinator
  Duration decided{};     // the last frame, and it was encoded
  Duration last_began{};  // the rank that was last to plan began to take its last frame in
  Duration planned{};     // and has its plan

  void Planned(Duration began, Duration ended) {
    if (ended < planned) return;
    last_began = began;
    planned = ended;
  }
};

// What the nodes of one job share. Everything outlives the nodes.
struct ControlJob {
  const ControlWorkload* workload;
  const ControlShape* shape;
  const CostMeter* meter;
  CostBook* book;
  RankSample* sample;
  StepTimes* times;
};

class ControlNode : public Node {
 public:
  virtual void BeginStep() = 0;
  // Frames that it has taken in since then.
  virtual size_t frames() const = 0;
};

class LeafNode final : public ControlNode {
 public:
  LeafNode(const ControlJob* job, int rank) : job_(job), rank_(rank) {}

  void BeginStep() override { frames_ = 0; }
  size_t frames() const override { return frames_; }
  Status Start(Turn& turn) override;
  Status Receive(int from, const Bytes& bytes, Turn& turn) override;

 private:
  const ControlJob* job_;
  const int rank_;
  size_t frames_ = 0;
};

class RootNode final : public ControlNode {
 public:
  explicit RootNode(const ControlJob* job);

  // What the ranks agree about process sets before they begin.
  Status AddSets();

  void BeginStep() override;
  size_t frames() const override { return frames_; }
  Status Start(Turn& turn) override;
  Status Receive(int from, const Bytes& bytes, Turn& turn) override;
  Status Idle(Turn& turn) override;

 private:
  TimePoint Now(const Turn& turn) const { return began_ + turn.now(); }
  Status AbsorbBatch(int from, const std::vector<uint8_t>& bytes, TimePoint now);
  Status AbsorbShares(const std::vector<uint8_t>& bytes, TimePoint now);
  CostKey AbsorbKeyOf(int from);
  Status Broadcast(const control::Frame& frame, Turn& turn);

  const ControlJob* job_;
  control::Coordinator coordinator_;
  control::RequestMemo memo_;
  control::Batch batch_;  // kept for its memory, as the next two
  control::Frame frame_;
  std::vector<uint8_t> encoded_;
  TimePoint began_{};  // the step, as the coordinator is told
  size_t frames_ = 0;
  std::array<int, ControlWorkload::kGroups>
      expected_{};  // batches of each group of leaves, in this step
  std::array<int, ControlWorkload::kGroups> absorbed_{};
  int64_t shares_absorbed_ = 0;
};

}  // namespace rueda::bench
