// PyOperations: Operations for Python: arguments into C++ and back, errors as exceptions. Only
// module*.cc include it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/ticket.h"
#include "torch/module_parts.h"
#include "torch/operations.h"

namespace rueda::pytorch {

// Called with the GIL held.
class PyOperations {
 public:
  PyOperations(const py::capsule& engine, int64_t first_handle);
  ~PyOperations();

  int64_t Submit(int kind, const py::sequence& tensors, const std::optional<py::sequence>& outputs,
                 std::optional<std::string_view> name, int op, int root, double prescale,
                 double postscale, uint32_t process_set, std::vector<int64_t> parts,
                 bool with_splits, bool grouped, bool urgent, int32_t priority);
  int64_t Start(OperationCall&& call);
  bool Poll(int64_t handle) const;
  // None for a handle that is not known.
  py::object Wait(int64_t handle);

  // For calls that are made of several operations.
  std::string NextCall(const std::string& operation, uint32_t process_set) {
    return operations_->call_counts().Take(process_set, operation);
  }
  uint64_t Joins(uint32_t set) const { return operations_->call_counts().joins(set); }

  void DropFinished() { operations_->handles().DropFinished(); }
  int64_t next_handle() const { return operations_->handles().next_handle(); }
  size_t size() const { return operations_->handles().size(); }

 private:
  void Drive(engine::TicketPtr ticket);

  const std::string package_;  // the folder of rueda's own Python
  std::unique_ptr<Operations> operations_;
};

}  // namespace rueda::pytorch
