// ControlRoad: how batches reach the coordinator and frames come back.
//
// Two implementations: the host of the coordinator (rank 0) and its clients. The engine thread's.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "control/coordinator.h"
#include "control/messages.h"
#include "core/clock.h"
#include "core/status.h"
#include "engine/aside.h"
#include "engine/engine_parts.h"

namespace rueda::engine {

// Types of control messages (docs/wire-format.md).
enum class MessageType : uint8_t {
  kBatch = 1,     // client to host
  kFrame = 2,     // host to client
  kFarewell = 3,  // host to client: the coordinator shut down in order; the payload is its reason
  kFailure = 4,   // either way: the epoch ended with this error (code, blamed rank, text)
  kHello = 5,     // client to host, first on a connection that was used before: it is free now
  kAside = 6,     // either way: see engine/aside.h
};

// Longer reasons and errors are cut: what is said last is sent into a channel that closes right
// after, and must fit it whole.
inline constexpr size_t kMaxLastWords = 16384;

// Frames in order, in memory that is used again.
class FrameQueue {
 public:
  // The frame that Push will append: to be filled in.
  control::Frame* Next() {
    if (end_ == frames_.size()) frames_.emplace_back();
    return &frames_[end_];
  }
  void Push() { ++end_; }
  // The oldest one, or null. It stays as it is until the next call.
  const control::Frame* Take() {
    if (begin_ != end_) return &frames_[begin_++];
    begin_ = end_ = 0;
    return nullptr;
  }

 private:
  std::deque<control::Frame> frames_;  // a deque: what was taken stays where it is
  size_t begin_ = 0;
  size_t end_ = 0;
};

class ControlRoad {
 public:
  virtual ~ControlRoad() = default;

  // Sends this rank's offers; what does not fit now is sent by Poll.
  virtual Status Offer(const control::Batch& batch) = 0;

  // Moves messages both ways and decides what is ready; true if anything moved. An error ends the
  // epoch.
  virtual Result<bool> Poll() = 0;

  // The next frame to run, in order, or null. It is valid until the next call of the road.
  virtual const control::Frame* TakeFrame() = 0;

  // Whether an aside to `rank` would leave at once: it can be reached and nothing waits for its
  // channel. A client reaches rank 0 alone; nobody reaches itself.
  virtual bool CanTell(int rank) const = 0;
  // Nothing happens if the rank cannot be reached. The body has at most kMaxAsideBytes.
  virtual Status Tell(const Aside& aside) = 0;
  // The next aside that has come, in order of arrival.
  virtual std::optional<Aside> TakeAside() = 0;

  // Ranks that can still agree on something, but only while this rank stays.
  virtual std::vector<int> Dependents() const { return {}; }

  // Rank 0's, for what it says of withheld requests; null elsewhere. It stays the road's.
  virtual control::Coordinator* coordinator() { return nullptr; }

  // What frames carry from the next one on; rank 0 alone decides that.
  virtual void SetLimits(const control::Limits&) {}

  // When Poll has something to do even if nothing arrives.
  virtual TimePoint NextDeadline() const = 0;

  // Set once the coordinator shut down in order: nothing can be agreed any more; why.
  virtual const std::optional<Status>& closed() const = 0;

  // Nothing queued is left to send.
  virtual bool Flushed() const = 0;

  // Last words: an orderly end of the coordinator (no effect on clients), or the epoch's error.
  virtual void Farewell(const Status& why, const std::string& reason) = 0;
};

// Takes the channels over. Clock and log outlive the road.
std::unique_ptr<ControlRoad> MakeControlHost(
    const EngineParts& parts, std::vector<std::unique_ptr<transport::Channel>> channels);
std::unique_ptr<ControlRoad> MakeControlClient(const EngineParts& parts,
                                               std::unique_ptr<transport::Channel> channel);

// kFailure's payload.
std::vector<uint8_t> EncodeFailure(const Status& why);
Status DecodeFailure(std::span<const uint8_t> payload);

}  // namespace rueda::engine
