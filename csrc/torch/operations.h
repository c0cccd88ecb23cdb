// Operations: collectives on PyTorch tensors, from a caller's arguments to a ticket and back.
//
// Checks everything before anything is submitted, makes row-major copies where a tensor is not, and
// turns a finished ticket into the tensors that the caller expects. Called with the GIL held (see
// HandleTable) and never waits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "control/request.h"
#include "core/status.h"
#include "engine/engine.h"
#include "torch/call_counts.h"
#include "torch/handle_table.h"
#include "torch/request_cache.h"

namespace rueda::pytorch {

// What to do, in a caller's words.
struct OperationCall {
  OpKind kind = OpKind::kAllreduce;
  bool grouped = false;
  Tensors inputs;
  bool in_place = false;  // the results go where the inputs are, and `outputs` is empty
  // Where the results go, each of its input's shape and type, or the input itself; empty: new
  // tensors, and where ranks get different parts always.
  Tensors outputs;
  // Without one it is called "<operation>.noname.<count>", the count by process set and operation.
  // Its text lives until Start has returned.
  std::optional<std::string_view> name;
  ReduceOp op = ReduceOp::kSum;
  int root = -1;
  double prescale = 1.0;
  double postscale = 1.0;
  uint32_t process_set = 0;
  int32_t priority = 0;        // see control::Request
  std::vector<int64_t> parts;  // see control::Request
  bool with_splits = false;    // see StartedWork
  bool urgent = false;         // the caller is about to wait
  CallSite call_site;
};

class Operations {
 public:
  Operations(std::shared_ptr<engine::Engine> engine, int64_t first_handle);

  // The handle. kInvalidArgument, kUnsupported or kDuplicateName for the caller's mistakes, else
  // the engine's error; nothing was started then.
  Result<int64_t> Start(OperationCall&& call);
  // Takes work whose ticket is done: its results, or how it failed. Copies staged results back.
  Result<Tensors> Finish(StartedWork&& work);

  HandleTable& handles() { return handles_; }
  CallCounts& call_counts() { return call_counts_; }
  const std::shared_ptr<engine::Engine>& engine() const { return engine_; }

 private:
  // Shared with the module _core, whose shutdown stops it; afterwards it answers kShutDown.
  const std::shared_ptr<engine::Engine> engine_;
  HandleTable handles_;
  CallCounts call_counts_;
  RequestCache requests_;
};

}  // namespace rueda::pytorch
