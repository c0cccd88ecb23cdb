// Random programs for an engine: what every rank does, and a plain model of what must come out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "control/request.h"
#include "thread_job.h"

namespace rueda::testing {

// One thing that all ranks do, as each of them sees it. Values are int32: sums are exact.
struct Operation {
  OpKind kind = OpKind::kAllreduce;
  ReduceOp op = ReduceOp::kSum;
  std::string name;
  int number = 0;  // tells its values from every other's
  int root = -1;
  bool transient = false;
  bool apart = false;           // outputs are other memory than inputs
  std::vector<int64_t> counts;  // elements, by tensor; of an allgather: rows of rank 0
  std::vector<bool> placed;     // by rank: in the arena
  int odd_rank = -1;            // offers another shape: all must be told

  int64_t CountOn(int rank, size_t tensor) const {
    if (kind == OpKind::kAllgather) return (counts[tensor] + rank * 3) % 50;
    return counts[tensor] + (rank == odd_rank ? 1 : 0);
  }
};

inline int32_t ValueOf(const Operation& operation, int rank, size_t tensor, int64_t element) {
  const auto mixed = static_cast<uint32_t>(operation.number) * 2'654'435'761u +
                     static_cast<uint32_t>(tensor) * 97u + static_cast<uint32_t>(element % 1'009);
  return static_cast<int32_t>(mixed % 1'000) - 300 + rank * 17;
}

// The plain model: what every rank has in the end.
inline std::vector<int32_t> ExpectedOf(const Operation& operation, int size, size_t tensor) {
  std::vector<int32_t> expected;
  if (operation.kind == OpKind::kAllgather) {
    for (int rank = 0; rank < size; ++rank) {
      for (int64_t i = 0; i < operation.CountOn(rank, tensor); ++i) {
        expected.push_back(ValueOf(operation, rank, tensor, i));
      }
    }
    return expected;
  }
  for (int64_t i = 0; i < operation.counts[tensor]; ++i) {
    int32_t value = ValueOf(operation, std::max(0, operation.root), tensor, i);
    for (int rank = 1; rank < size && operation.kind == OpKind::kAllreduce; ++rank) {
      const int32_t other = ValueOf(operation, rank, tensor, i);
      if (operation.op == ReduceOp::kSum) value += other;
      if (operation.op == ReduceOp::kMin) value = std::min(value, other);
      if (operation.op == ReduceOp::kMax) value = std::max(value, other);
    }
    expected.push_back(value);
  }
  return expected;
}

// Draws operations that reuse names, mostly unchanged, so that most of them are agreed on by a bit.
class ProgramMaker {
 public:
  ProgramMaker(uint64_t seed, int size) : random_(seed), size_(size) {}

  // Operations of different names that are in flight together.
  std::vector<Operation> NextWindow() {
    std::vector<size_t> names(kNames);
    std::iota(names.begin(), names.end(), size_t{0});
    std::shuffle(names.begin(), names.end(), random_);
    names.resize(1 + random_() % 30);
    std::vector<Operation> window;
    for (const size_t name : names) window.push_back(Next(name));
    return window;
  }

 private:
  static constexpr size_t kNames = 48;

  bool OneIn(uint64_t n) { return random_() % n == 0; }

  Operation Next(size_t name) {
    Operation& operation = known_[name];
    if (operation.counts.empty() || OneIn(12)) operation = Invent(name);
    operation.number = ++number_;
    operation.placed.assign(static_cast<size_t>(size_), false);
    if (operation.kind == OpKind::kAllreduce && !operation.apart) {
      // Mostly all or none, now and then a few ranks.
      const uint64_t sort = random_() % 4;
      for (size_t i = 0; i < operation.placed.size(); ++i) {
        operation.placed[i] = sort == 0 || (sort == 1 && OneIn(2));
      }
    }
    Operation now = operation;
    if (now.kind == OpKind::kAllreduce && size_ > 1 && OneIn(25)) {
      now.odd_rank = static_cast<int>(random_() % static_cast<uint64_t>(size_));
    }
    return now;
  }

  Operation Invent(size_t name) {
    constexpr OpKind kKinds[] = {OpKind::kAllreduce, OpKind::kAllreduce, OpKind::kAllreduce,
                                 OpKind::kBroadcast, OpKind::kAllgather, OpKind::kBarrier};
    constexpr ReduceOp kOps[] = {ReduceOp::kSum, ReduceOp::kSum, ReduceOp::kMin, ReduceOp::kMax};
    Operation made;
    made.kind = kKinds[random_() % std::size(kKinds)];
    made.op = kOps[random_() % std::size(kOps)];
    made.name = "n" + std::to_string(name);
    made.transient = OneIn(10);
    made.apart = OneIn(3);
    if (made.kind == OpKind::kBroadcast) {
      made.root = static_cast<int>(random_() % static_cast<uint64_t>(size_));
    }
    const size_t tensors = OneIn(4) ? 1 + random_() % 5 : 1;
    for (size_t i = 0; i < tensors; ++i) {
      const uint64_t most = OneIn(40) ? 150'000 : 600;
      made.counts.push_back(static_cast<int64_t>(random_() % most));
    }
    return made;
  }

  std::mt19937_64 random_;
  const int size_;
  int number_ = 0;
  Operation known_[kNames];
};

// One rank's part in one operation: memory, ticket, and whether the result is right.
class Part {
 public:
  Part(const Operation& operation, engine::Engine& engine)
      : operation_(operation), engine_(engine), rank_(engine.topology().rank) {
    Describe();
    GiveMemory();
  }

  Status Submit(bool urgent) {
    Result<engine::TicketPtr> ticket =
        engine_.Submit({request_, buffers_, /*keep_alive=*/nullptr, urgent});
    if (ticket.ok()) ticket_ = *ticket;
    return ticket.status();
  }

  // "" or what is wrong.
  std::string Finish() {
    engine_.Wait(ticket_);
    const Status& status = ticket_->status();
    if (operation_.odd_rank >= 0) {
      return status.code() == StatusCode::kMismatch ? "" : "no mismatch: " + status.message();
    }
    if (!status.ok()) return operation_.name + ": " + status.message();
    if (operation_.kind == OpKind::kBarrier) return "";
    for (size_t tensor = 0; tensor < operation_.counts.size(); ++tensor) {
      const std::vector<int32_t> expected = ExpectedOf(operation_, engine_.topology().size, tensor);
      if (ValuesOf(tensor) == expected) continue;
      return "operation " + std::to_string(operation_.number) + " ('" + operation_.name + "', " +
             std::string(NameOf(operation_.kind)) + "), tensor " + std::to_string(tensor) +
             " is wrong";
    }
    return "";
  }
  const Status& status() const { return ticket_->status(); }

 private:
  void Describe() {
    request_ = std::make_shared<control::Request>();
    request_->kind = operation_.kind;
    request_->op = operation_.op;
    request_->name = operation_.name;
    request_->root = operation_.root;
    request_->transient = operation_.transient;
    if (operation_.kind == OpKind::kBarrier) return;
    for (size_t i = 0; i < operation_.counts.size(); ++i) {
      request_->tensors.push_back({operation_.name + "." + std::to_string(i),
                                   DType::kInt32,
                                   {operation_.CountOn(rank_, i)}});
    }
  }

  void GiveMemory() {
    const control::Layout layout = control::LayoutOf(request_->tensors);
    if (operation_.placed[static_cast<size_t>(rank_)]) {
      arena_ = engine_.Allocate(layout.bytes).value();
      request_->placement = arena_->offset();
    }
    for (size_t i = 0; i < request_->tensors.size(); ++i) {
      const int64_t count = request_->tensors[i].count();
      buffers_.inputs.push_back(
          arena_ ? TensorView{arena_->data() + layout.offsets[i], count, DType::kInt32}
                 : Own(count));
      auto* const values = static_cast<int32_t*>(buffers_.inputs.back().data);
      for (int64_t e = 0; e < count; ++e) values[e] = ValueOf(operation_, rank_, i, e);
      if (operation_.kind == OpKind::kAllgather) continue;
      buffers_.outputs.push_back(operation_.apart ? Own(count) : buffers_.inputs.back());
    }
  }

  TensorView Own(int64_t count) {
    memory_.emplace_back(static_cast<size_t>(count));
    return {memory_.back().data(), count, DType::kInt32};
  }

  std::vector<int32_t> ValuesOf(size_t tensor) {
    if (operation_.kind == OpKind::kAllgather) {
      const engine::OwnedResult& result = ticket_->results().at(tensor);
      const auto* data = reinterpret_cast<const int32_t*>(result.data.get());
      return {data, data + result.bytes / 4};
    }
    const TensorView& view = buffers_.outputs[tensor];
    const auto* data = static_cast<const int32_t*>(view.data);
    return {data, data + view.count};
  }

  const Operation& operation_;
  engine::Engine& engine_;
  const int rank_;
  std::shared_ptr<control::Request> request_;
  std::shared_ptr<transport::ArenaBuffer> arena_;
  std::vector<std::vector<int32_t>> memory_;
  BucketBuffers buffers_;
  engine::TicketPtr ticket_;
};

}  // namespace rueda::testing
