#include "bench/simulation/control_simulation.h"

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "bench/simulation/control_nodes.h"
#include "bench/simulation/relay_node.h"

namespace rueda::bench {
namespace {

ControlShape ShapeOf(const ControlOptions& options) {
  const int ranks = options.workload.ranks;
  return options.topology == ControlTopology::kStar
             ? ControlShape::Star(ranks)
             : ControlShape::Tree(ranks, options.links.ranks_per_host, options.fan_out);
}

}  // namespace

class ControlSimulation::Job {
 public:
  Job(const ControlOptions& options, const CostMeter& meter)
      : options_(options),
        meter_(meter),
        workload_(options.workload),
        shape_(ShapeOf(options)),
        sample_(&workload_, &meter_, &book_, options.misplans),
        shared_{&workload_, &shape_, &meter_, &book_, &sample_, &times_},
        root_(&shared_),
        random_(options.workload.seed) {
    nodes_.push_back(&root_);
    for (int rank = 1; rank < workload_.ranks(); ++rank) {
      others_.push_back(NodeOf(rank));
      nodes_.push_back(others_.back().get());
    }
    network_ = std::make_unique<VirtualNetwork>(options.links,
                                                std::vector<Node*>(nodes_.begin(), nodes_.end()));
  }

  Status WarmUp() {
    RUEDA_RETURN_IF_ERROR(root_.AddSets());
    for (int i = 0; i < workload_.warm_up_steps(); ++i) {
      RUEDA_RETURN_IF_ERROR(Step().status());
    }
    return Status::Ok();
  }

  Result<ControlStep> Step() {
    workload_.NextStep();
    book_.Clear();
    times_ = {};
    network_->BeginStep();
    for (ControlNode* node : nodes_) node->BeginStep();
    RUEDA_RETURN_IF_ERROR(sample_.Submit());
    const Duration submitted = StartAll();
    RUEDA_RETURN_IF_ERROR(network_->Run());
    RUEDA_RETURN_IF_ERROR(sample_.CheckAnswered());
    RUEDA_RETURN_IF_ERROR(CheckFrames());
    return FiguresSince(submitted);
  }

 private:
  std::unique_ptr<ControlNode> NodeOf(int rank) {
    if (shape_.children(rank).empty()) return std::make_unique<LeafNode>(&shared_, rank);
    return std::make_unique<RelayNode>(&shared_, rank, options_.patience);
  }

  // When the last one has submitted.
  Duration StartAll() {
    Duration last{};
    for (int rank = 0; rank < workload_.ranks(); ++rank) {
      if (workload_.OffersOf(rank).empty()) continue;
      const Duration at(
          static_cast<Duration::rep>(random_() % static_cast<uint64_t>(options_.skew.count() + 1)));
      last = std::max(last, at);
      network_->StartAt(rank, at);
    }
    return last;
  }

  Status CheckFrames() const {
    for (size_t rank = 1; rank < nodes_.size(); ++rank) {
      if (nodes_[rank]->frames() == root_.frames()) continue;
      return {StatusCode::kCorrupt, "rank " + std::to_string(rank) + " got " +
                                        std::to_string(nodes_[rank]->frames()) + " of " +
                                        std::to_string(root_.frames()) + " frames of a step"};
    }
    return Status::Ok();
  }

  ControlStep FiguresSince(Duration submitted) const {
    ControlStep step;
    step.total = times_.planned - submitted;
    step.up = times_.absorbed - submitted;
    step.decide = times_.decided - times_.absorbed;
    step.down = times_.last_began - times_.decided;
    step.plan = times_.planned - times_.last_began;
    step.root_cpu = network_->busy(0);
    for (int rank = 1; rank < workload_.ranks(); ++rank) {
      step.other_cpu += network_->busy(rank);
      step.busiest_cpu = std::max(step.busiest_cpu, network_->busy(rank));
    }
    step.other_cpu /= workload_.ranks() - 1;
    step.messages = network_->traffic().messages;
    step.bytes = network_->traffic().bytes;
    step.root_messages = network_->traffic_into(0).messages;
    step.root_bytes = network_->traffic_into(0).bytes;
    step.frames = static_cast<int64_t>(root_.frames());
    return step;
  }

  const ControlOptions options_;
  const CostMeter meter_;
  ControlWorkload workload_;
  const ControlShape shape_;
  CostBook book_;
  StepTimes times_;
  RankSample sample_;
  const ControlJob shared_;
  RootNode root_;
  std::vector<std::unique_ptr<ControlNode>> others_;
  std::vector<ControlNode*> nodes_;  // by rank
  std::unique_ptr<VirtualNetwork> network_;
  std::mt19937_64 random_;
};

ControlSimulation::ControlSimulation(const ControlOptions& options, const CostMeter& meter)
    : options_(options), meter_(meter) {}

ControlSimulation::~ControlSimulation() = default;

Result<std::unique_ptr<ControlSimulation>> ControlSimulation::Make(const ControlOptions& options,
                                                                   const CostMeter& meter) {
  if (options.workload.ranks < 2 || options.workload.tensors < 1) {
    return Status(StatusCode::kInvalidArgument,
                  "a simulation needs at least 2 ranks and 1 tensor, found " +
                      std::to_string(options.workload.ranks) + " and " +
                      std::to_string(options.workload.tensors));
  }
  std::unique_ptr<ControlSimulation> made(new ControlSimulation(options, meter));
  RUEDA_RETURN_IF_ERROR(made->Begin());
  return made;
}

Status ControlSimulation::Begin() {
  job_.reset();  // two large ones at a time are not needed
  job_ = std::make_unique<Job>(options_, meter_);
  return job_->WarmUp();
}

Result<ControlStep> ControlSimulation::Step() {
  Result<ControlStep> step = job_->Step();
  if (step.ok() && options_.workload.which == ControlCase::kUncached) {
    RUEDA_RETURN_IF_ERROR(Begin());
  }
  return step;
}

}  // namespace rueda::bench
