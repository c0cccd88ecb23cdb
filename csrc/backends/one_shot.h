// OneShot: small all-reduces that all ranks agree on and add up in one meeting.
//
// Otherwise that takes three: offers, the frame that answers them, and the exchange. Here each rank
// shows what it wants together with its contribution. Once all have come to a meeting, and want the
// same, each adds up all contributions by itself (a one-shot all-reduce). Every meeting has one
// verdict, agreed or apart, which is the same for all: the first rank that can tell writes it, and
// until then any rank may call the meeting off. Where it is apart nothing was done.
//
// Who drives the engine, one thread at a time.
#pragma once

#include <cstdint>

#include "core/bucket.h"

namespace rueda::backends {

class OneShot {
 public:
  virtual ~OneShot() = default;

  // The largest contribution. Constant.
  virtual int64_t MostBytes() const = 0;

  // Comes to the meeting that is open, with what is wanted there in 64 bits, and the contribution.
  // Only while Look says kNobody or kOthers.
  virtual void Come(uint64_t wish, const BucketBuffers& buffers) = 0;

  enum class Sight {
    kNobody,  // nobody has come to the open meeting
    kOthers,  // others have, this rank has not
    kWaits,   // this rank has, not all others have
    kAgreed,  // all came, and wanted the same: Reduce; another meeting is open
    kApart,   // the meeting that this rank came to was called off, or ranks wanted different things
    kOver,    // there are no more meetings
  };
  virtual Sight Look() = 0;

  // After kAgreed, before coming again: the outputs, as a bucket that all ranks run gets them.
  virtual void Reduce(const Bucket& bucket, const BucketBuffers& buffers) = 0;

  // Calls off the open meeting, unless it has its verdict; whether this rank has come to it or not.
  virtual void CallOff() = 0;
  // Calls off all further ones: this rank will not come.
  virtual void End() = 0;
};

}  // namespace rueda::backends
