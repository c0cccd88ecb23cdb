// CoordinatorJob: a coordinator with a clock of its own, and batches to feed it.
#pragma once

#include <catch2/catch.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/coordinator.h"
#include "control_samples.h"

namespace rueda::control {

inline Batch Full(std::vector<Request> requests) {
  Batch batch;
  batch.requests = Shared(std::move(requests));
  return batch;
}
inline Batch Bits(BitSet slots) {
  Batch batch;
  batch.slots = std::move(slots);
  return batch;
}
inline Batch Leaving(const std::string& reason, Batch batch = {}) {
  batch.leave_reason = reason;
  return batch;
}

// A coordinator of some ranks, with a clock of its own.
class CoordinatorJob {
 public:
  explicit CoordinatorJob(int size, CoordinatorOptions options = {})
      : size_(size), coordinator_(TopologyOf(size), options) {}

  Coordinator* operator->() { return &coordinator_; }
  TimePoint now() const { return clock_.Now(); }
  void Advance(Duration by) { clock_.Advance(by); }

  Status Absorb(int from, const Batch& batch) { return coordinator_.Absorb(from, batch, now()); }
  // Absorbs and decides; the responses, or none.
  std::vector<Response> Answer(int from, const Batch& batch) {
    REQUIRE(Absorb(from, batch) == Status::Ok());
    return Decide();
  }
  // All ranks offer the same.
  std::vector<Response> AnswerAll(const Batch& batch) {
    for (int rank = 0; rank < size_; ++rank) REQUIRE(Absorb(rank, batch) == Status::Ok());
    return Decide();
  }
  // The responses, without the acknowledgements to ranks that left.
  std::vector<Response> Decide() {
    std::optional<Frame> frame = coordinator_.Decide(now());
    if (!frame) return {};
    CHECK(frame->number == ++frames_);
    CHECK_FALSE(frame->empty());
    CHECK(frame->arrivals.size() == frame->cached.count());
    std::vector<Response> answers = AnswersOf(*frame);
    std::erase_if(answers, [](const Response& response) {
      return response.error.code() == StatusCode::kShutDown;
    });
    return answers;
  }

 private:
  const int size_;
  ManualClock clock_;
  Coordinator coordinator_;
  uint64_t frames_ = 0;
};

// Errors are compared in words.
inline std::string Words(const std::vector<Response>& responses, size_t index = 0) {
  return index < responses.size() ? responses[index].error.message() : "(no response)";
}

}  // namespace rueda::control
