// EngineProcedure: a collective through the engine, submitted and waited for in C++.
#pragma once

#include <memory>
#include <string>

#include "bench/procedure.h"
#include "core/types.h"
#include "engine/engine.h"

namespace rueda::bench {

// One collective, as nccl-tests counts it: `count` is the elements of the larger side, so that of
// an allgather's result and a reducescatter's input; a multiple of the ranks for these two.
struct Collective {
  OpKind kind = OpKind::kAllreduce;
  ReduceOp op = ReduceOp::kSum;
  DType dtype = DType::kFloat32;
  int64_t count = 0;
  int root = -1;
};

class EngineProcedure final : public Procedure {
 public:
  // `shared`: in memory that peers map, reduced where it lies, as gradient buckets are; otherwise
  // in private memory, as tensors are. kUnsupported where the job has no such memory.
  static Result<std::unique_ptr<EngineProcedure>> Make(std::shared_ptr<engine::Engine> engine,
                                                       const std::string& name,
                                                       const Collective& collective, bool shared);

  std::span<uint8_t> input() override { return {input_, input_bytes_}; }
  std::span<uint8_t> output() override { return output_; }
  bool wants_fresh_input() const override { return request_->placement != control::kPrivate; }
  Status Call() override;

 private:
  EngineProcedure() = default;
  Status Allocate(control::Request* request, bool shared);

  std::shared_ptr<engine::Engine> engine_;
  control::SharedRequest request_;
  std::shared_ptr<const void> owner_;  // of the memory
  uint8_t* input_ = nullptr;
  size_t input_bytes_ = 0;
  std::span<uint8_t> output_;
  engine::TicketPtr last_;  // owns what a collective of different parts left
};

}  // namespace rueda::bench
