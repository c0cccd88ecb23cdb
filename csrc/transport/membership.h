// Membership: who of the epoch's members is still there, and how this rank tells them its own end.
#pragma once

#include <cstdint>

#include "core/clock.h"
#include "core/status.h"

namespace rueda::transport {

// The engine thread's, but for what implementations say.
class Membership {
 public:
  virtual ~Membership() = default;

  // Ok, or the error that ended the epoch elsewhere: a peer died, or failed and says why. Cheap:
  // asked on every round of the loop.
  virtual Status Check() = 0;

  // This rank touches no peer's memory from here on: it left in order, or its epoch ended with
  // `why`.
  virtual void AnnounceLeft() = 0;
  virtual void AnnounceFailure(const Status& why) = 0;

  // True when no living peer can touch this rank's memory any more.
  virtual bool EveryoneGone() const = 0;

  // The process of `rank` as this process numbers it: 0 if that is not known, -1 if it has ended.
  virtual int64_t LocalPid(int rank) const {
    static_cast<void>(rank);
    return 0;
  }

  // In a forked child, where no thread but the caller exists: closes descriptors, touches nothing
  // else.
  virtual void AbandonInForkedChild() = 0;
};

}  // namespace rueda::transport
