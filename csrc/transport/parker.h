// Parker: where the thread that drives an engine sleeps.
#pragma once

#include <cstdint>

#include "core/clock.h"
#include "transport/doorbell.h"

namespace rueda::transport {

class Parker {
 public:
  virtual ~Parker() = default;

  // Read before looking for work, handed to Park when there was none. The driving thread.
  virtual uint32_t Sequence() const = 0;
  // Sleeps until there may be work: Unpark since `seen`, peers' bytes, the deadline. May return
  // early.
  virtual void Park(uint32_t seen, TimePoint deadline) = 0;
  // Any thread.
  virtual void Unpark() = 0;

  // Park in its parts, for a driver beside whom others may drive: who heeds nobody need not be told
  // of what they see themselves. Null where this parker has no such parts.
  virtual Doorbell* doorbell() { return nullptr; }
};

// For ranks of one host: peers and callers ring the doorbell in this rank's arena.
class DoorbellParker final : public Parker {
 public:
  // The doorbell outlives the parker.
  explicit DoorbellParker(Doorbell* doorbell) : doorbell_(doorbell) {}
  uint32_t Sequence() const override { return doorbell_->Sequence(); }
  void Park(uint32_t seen, TimePoint deadline) override { doorbell_->Sleep(seen, deadline); }
  void Unpark() override { doorbell_->RingAsOwner(); }
  Doorbell* doorbell() override { return doorbell_; }

 private:
  Doorbell* doorbell_;
};

}  // namespace rueda::transport
