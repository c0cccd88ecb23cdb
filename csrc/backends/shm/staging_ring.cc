#include "backends/shm/staging_ring.h"

namespace rueda::backends {
namespace {

constexpr int64_t kAlignment = 128;

}  // namespace

StagingRing::Place StagingRing::Next(int64_t bytes) {
  const int64_t padded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const int64_t left = bytes_ - position_ % bytes_;
  if (padded > left) position_ += left;  // no unit wraps around
  const int64_t start = position_;
  position_ += padded;
  // Position p lies where p - bytes_ lay: every unit that starts before that is overwritten. Units
  // too old to be remembered count as overwritten as well.
  while (overwritten_ < placed_ && (placed_ - overwritten_ >= kRemembered ||
                                    starts_[overwritten_ % kRemembered] < position_ - bytes_)) {
    ++overwritten_;
  }
  starts_[placed_ % kRemembered] = start;
  ++placed_;
  return {start % bytes_, overwritten_};
}

}  // namespace rueda::backends
