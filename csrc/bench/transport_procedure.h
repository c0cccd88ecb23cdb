// TransportProcedure: an all-reduce by the shm backend alone, driven by the calling thread.
//
// Nothing is agreed on and no thread is woken: what is left is what the bytes cost. The ranks make
// the same procedures in the same order, which stands for the agreement (I1). In shared memory the
// start line of each call stands for what the agreement also tells: that all inputs are there (I2).
#pragma once

#include <memory>
#include <vector>

#include "bench/board.h"
#include "bench/engine_procedure.h"
#include "bench/procedure.h"
#include "core/bucket.h"
#include "engine/engine_parts.h"
#include "engine/job.h"
#include "transport/waiter.h"

namespace rueda::bench {

// What a job of one host is made of, without an engine that drives it.
class TransportJob {
 public:
  // Takes the descriptors over. kUnsupported unless all ranks share memory.
  static Result<std::shared_ptr<TransportJob>> Start(const Topology& topology, const Config& config,
                                                     engine::JobLinks links);

  int rank() const { return parts_.topology.rank; }
  int size() const { return parts_.topology.size; }
  transport::ArenaHeap& heap() { return *parts_.heap; }
  // Steps one bucket to its end; kTimedOut when peers do not come.
  Status Run(const Bucket& bucket, const BucketBuffers& buffers);

 private:
  explicit TransportJob(engine::EngineParts parts) : parts_(std::move(parts)) {}

  engine::EngineParts parts_;
  transport::Waiter waiter_;
};

class TransportProcedure final : public Procedure {
 public:
  // In shared memory or private; an allreduce. The board outlives it.
  static Result<std::unique_ptr<TransportProcedure>> Make(Board* board,
                                                          std::shared_ptr<TransportJob> job,
                                                          const Collective& collective,
                                                          bool shared);

  // Byte offset of this rank's memory in its arena, for the others' SetPlacements; -1 if private.
  int64_t placement() const { return placement_; }
  // By rank, before the first call of a shared one.
  void SetPlacements(std::vector<int64_t> placements);

  std::span<uint8_t> input() override { return {data_, bytes_}; }
  std::span<uint8_t> output() override { return input(); }
  bool wants_fresh_input() const override { return placement_ >= 0; }
  Status Call() override;

 private:
  TransportProcedure() = default;

  Board* board_ = nullptr;
  std::shared_ptr<TransportJob> job_;
  std::shared_ptr<const void> owner_;  // of the memory
  Bucket bucket_;
  BucketBuffers buffers_;
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
  int64_t placement_ = -1;
};

}  // namespace rueda::bench
