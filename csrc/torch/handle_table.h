// HandleTable: the operations that Python has started and not yet synchronised.
//
// It owns their tensors, which the engine only points to (I4). Called with the GIL held, which is
// its lock and which dropping a tensor that Python has seen would take anyway.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/SmallVector.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/request.h"
#include "core/spare_nodes.h"
#include "core/types.h"
#include "engine/ticket.h"
#include "torch/call_site.h"

namespace rueda::pytorch {

// One, unless a group: a call of one allocates nothing for it.
using Tensors = c10::SmallVector<at::Tensor, 1>;

// One operation and everything that must live until it is done.
struct StartedWork {
  engine::TicketPtr ticket;
  control::SharedRequest request;
  bool grouped = false;      // its result is a list
  bool with_splits = false;  // an alltoall whose caller wants to know how many rows came from whom
  CallSite call_site;
  Tensors inputs;  // what the engine reads; none where it reads what it writes
  // What the caller gets; where ranks get different parts there is none before it is done.
  Tensors outputs;
  // What the engine writes instead of the output of that index, which is not row-major; copied back
  // at the end. In order.
  struct Staged {
    size_t index;
    at::Tensor tensor;
  };
  std::vector<Staged> staged;
};

class HandleTable {
 public:
  // Numbers start at `first_handle`, so that a handle of an earlier table is never taken for one of
  // this one's.
  explicit HandleTable(int64_t first_handle) : next_handle_(first_handle) {}
  // Tensors of unfinished work are left to the engine for ever, because it may still write them; a
  // job that shuts its engine down first has none.
  ~HandleTable();
  HandleTable(const HandleTable&) = delete;
  HandleTable& operator=(const HandleTable&) = delete;

  int64_t Insert(StartedWork&& work);
  // Null when there is no such handle (any more).
  const StartedWork* Find(int64_t handle) const;
  // The work that is in flight under a name, or null.
  const StartedWork* FindByName(uint32_t process_set, std::string_view name) const;
  // Forgets the handle.
  std::optional<StartedWork> Take(int64_t handle);
  // Forgets the finished ones.
  void DropFinished();

  int64_t next_handle() const { return next_handle_; }
  size_t size() const { return works_.size(); }

 private:
  using Works = std::unordered_map<int64_t, StartedWork>;

  Works works_;
  SpareNodes<Works> spare_{1024};
  int64_t next_handle_;
};

}  // namespace rueda::pytorch
