// GradientBucket: gradients that are offered, agreed and reduced as one group.
//
// It owns the memory they lie in, the one Request that describes them (made once, so that the
// engine knows it again by its address) and the state of this step's submission. Members are
// counted in by whichever autograd thread produced them; the one that completes the bucket submits.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/request.h"
#include "core/clock.h"
#include "core/status.h"
#include "engine/engine.h"
#include "engine/ticket.h"

namespace rueda::pytorch {

// Memory for one bucket: `placement` is what a Request says of it. Lives as long as `owner`.
struct BucketMemory {
  uint8_t* data = nullptr;
  int64_t placement = control::kPrivate;
  // Shared by the bucket, by every gradient that is a view of it and by submissions in flight,
  // which may each be the last to let go. Owns no Python object.
  std::shared_ptr<const void> owner;
};

class GradientBucket {
 public:
  // `members` are the caller's numbers for the tensors of `request`, in the same order. Takes
  // memory that peers map where there is some and all have one element type, else private memory;
  // kSystem when there is neither.
  static Result<std::unique_ptr<GradientBucket>> Make(control::Request request,
                                                      std::vector<size_t> members,
                                                      engine::Engine& engine);
  GradientBucket(const GradientBucket&) = delete;
  GradientBucket& operator=(const GradientBucket&) = delete;

  const std::vector<size_t>& members() const { return members_; }
  // Where the member at `position` lies: zeroed at first, on a cache line of its own.
  uint8_t* address(size_t position) const;
  // Keeps every address valid.
  const std::shared_ptr<const void>& memory() const { return memory_.owner; }
  bool placed() const { return memory_.placement != control::kPrivate; }
  // What it takes of its memory, with padding.
  int64_t span_bytes() const { return layout_.bytes; }
  // Without padding.
  int64_t payload_bytes() const { return payload_bytes_; }

  // Counts one member in. True for the last one, whose caller submits. Any thread, each member once
  // a step.
  bool CountIn();
  // Offers the bucket, urgently: it is full, or somebody is about to wait. Does nothing the second
  // time. An engine that refuses is remembered, not reported: hooks must not fail for it.
  void Submit(engine::Engine& engine);
  // When; valid once submitted.
  TimePoint submitted_at() const { return submitted_at_; }
  bool submitted() const { return submitted_.load(std::memory_order_acquire); }

  // The ticket of this step while it is not done, else null.
  engine::TicketPtr pending() const;
  // How this step's submission went; valid once nothing is pending.
  Status outcome() const;
  // True once a step: the caller hands the reduced gradients out.
  bool TakeDelivery() { return !std::exchange(delivered_, true); }
  // Ready for the next step.
  void Reset();

 private:
  GradientBucket(control::Request request, std::vector<size_t> members, control::Layout layout,
                 BucketMemory memory);

  const std::vector<size_t> members_;
  const std::shared_ptr<const control::Request> request_;  // shared with the engine
  const control::Layout layout_;
  const BucketMemory memory_;
  BucketBuffers buffers_;
  int64_t payload_bytes_ = 0;

  // Members not yet counted in. Each decrement releases its member's data to whoever reaches zero.
  std::atomic<size_t> missing_;
  std::atomic<bool> submitted_{false};
  // Written by the submitting thread before submitted_ is released.
  TimePoint submitted_at_{};
  engine::TicketPtr ticket_;
  Status refusal_;
  bool delivered_ = false;
};

}  // namespace rueda::pytorch
