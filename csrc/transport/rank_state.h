// RankState: what a rank tells the peers that map its arena about its own end.
//
// Deaths are known by pidfd; this tells an orderly exit from a death, and a victim from the cause:
// a rank whose epoch ended with an error leaves that error here, so that all peers report the same.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "core/status.h"

namespace rueda::transport {

// Zeroed memory means running. Written by its owner's engine thread alone.
class alignas(128) RankState {
 public:
  enum class Phase : uint32_t {
    kRunning = 0,
    kLeft = 1,    // shut down in order, and touches no peer's memory any more
    kFailed = 2,  // its epoch ended with an error; it touches no peer's memory any more
  };

  // Acquire: what the owner wrote before is seen.
  Phase phase() const { return static_cast<Phase>(phase_.load(std::memory_order_acquire)); }
  // The error of a rank that failed.
  Status failure() const;

  void SetLeft() { phase_.store(static_cast<uint32_t>(Phase::kLeft), std::memory_order_release); }
  void SetFailed(const Status& why);

 private:
  static constexpr size_t kTextBytes = 1024;

  std::atomic<uint32_t> phase_;
  // Written before phase_ becomes kFailed, never after.
  int32_t code_;
  int32_t blamed_rank_;
  uint32_t text_bytes_;
  std::array<char, kTextBytes> text_;
};

}  // namespace rueda::transport
