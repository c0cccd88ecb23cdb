// Parker: where the thread that drives an engine sleeps.
#pragma once

#include <cstdint>

#include "core/clock.h"
#include "transport/doorbell.h"

namespace rueda::transport {

class Parker {
 public:
  virtual ~Parker() = default;

  // Before the last look for work; what it returns is handed to Park if there was none, and Cancel
  // is called otherwise. The driving thread.
  virtual uint32_t Prepare() = 0;
  virtual void Cancel() {}
  // Sleeps until there may be work: Unpark since Prepare, peers' bytes, the deadline. May return
  // early.
  virtual void Park(uint32_t seen, TimePoint deadline) = 0;
  // Any thread.
  virtual void Unpark() = 0;
  // The same, where it would not look around by itself before long.
  virtual void UnparkUnlessItLooks() { Unpark(); }

  // Park in its parts, for a driver beside whom others may drive: who heeds nobody need not be told
  // of what they see themselves. Null where this parker has no such parts.
  virtual Doorbell* doorbell() { return nullptr; }
};

// For ranks of one host: peers and callers ring the doorbell in this rank's arena.
class DoorbellParker final : public Parker {
 public:
  // The doorbell outlives the parker.
  explicit DoorbellParker(Doorbell* doorbell) : doorbell_(doorbell) {}
  uint32_t Prepare() override { return doorbell_->Prepare(); }
  void Cancel() override { doorbell_->Cancel(); }
  void Park(uint32_t seen, TimePoint deadline) override {
    doorbell_->Sleep(seen, deadline);
    doorbell_->Cancel();
  }
  void Unpark() override { doorbell_->RingAsOwner(); }
  void UnparkUnlessItLooks() override { doorbell_->Ring(); }
  Doorbell* doorbell() override { return doorbell_; }

 private:
  Doorbell* doorbell_;
};

}  // namespace rueda::transport
