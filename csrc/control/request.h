// Request: what one rank offers to do, and what all ranks must agree on before anything runs.
//
// A request is the unit of agreement: one tensor, or a group that runs as a whole. Automatic names
// come with `transient` set and are never given a slot.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/types.h"

namespace rueda::control {

// Where a request's tensors lie: in no memory that peers map.
inline constexpr int64_t kPrivate = -1;

struct TensorSpec {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;

  int64_t count() const;
  size_t bytes() const { return static_cast<size_t>(count()) * SizeOf(dtype); }
  bool operator==(const TensorSpec&) const = default;
};

// What has been found out about a request that nobody changes any more. Any thread.
class RequestNotes {
 public:
  RequestNotes() = default;
  // A copy is another request.
  RequestNotes(const RequestNotes&) {}
  RequestNotes& operator=(const RequestNotes&) { return *this; }

  // Where a rank's slot table found it the last time, so that it looks there first. It may be
  // wrong: requests may be shared by engines of one process.
  uint32_t slot() const { return slot_.load(std::memory_order_relaxed); }
  void SetSlot(uint32_t slot) const { slot_.store(slot, std::memory_order_relaxed); }

  // That CheckRequest was content with it.
  bool checked() const { return checked_.load(std::memory_order_relaxed); }
  void SetChecked() const { checked_.store(true, std::memory_order_relaxed); }

 private:
  mutable std::atomic<uint32_t> slot_{UINT32_MAX};
  mutable std::atomic<bool> checked_{false};
};

struct Request {
  OpKind kind = OpKind::kAllreduce;
  ReduceOp op = ReduceOp::kSum;
  int root = -1;
  double prescale = 1.0;
  double postscale = 1.0;
  uint32_t process_set = 0;
  bool transient = false;
  RequestNotes notes;  // no part of the value
  // Of the requests that are agreed at once, higher ones run sooner; equal on all ranks.
  int32_t priority = 0;
  // Byte offset of the group in this rank's arena, laid out as LayoutOf says, or kPrivate. Placed
  // requests have tensors of one dtype.
  int64_t placement = kPrivate;
  std::string name;
  std::vector<TensorSpec> tensors;
  // Alltoall, and a scatter's root: rows for each member. A new process set: its ranks. The removal
  // of one: its number.
  std::vector<int64_t> parts;

  // The factors by their bits, so that what compares equal also scales alike.
  bool operator==(const Request& other) const;
};

using SharedRequest = std::shared_ptr<const Request>;
// Of requests that are not null, mostly one and the same.
inline bool AreEqual(const SharedRequest& a, const SharedRequest& b) { return a == b || *a == *b; }

// Rows of a reducescatter's result by member: as equal as can be, the first ones a row more.
std::vector<int64_t> ScatteredRows(int64_t rows, size_t members);

// How a placed group lies in its arena: each tensor starts on a cache line of its own.
struct Layout {
  std::vector<int64_t> offsets;  // bytes from the group's start, by tensor
  int64_t bytes = 0;             // of the whole span, padding included
};
Layout LayoutOf(const std::vector<TensorSpec>& tensors);
inline constexpr int64_t kLayoutAlignment = 64;

}  // namespace rueda::control
