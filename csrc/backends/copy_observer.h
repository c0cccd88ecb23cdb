// CopyObserver: who is told of the copies that backends make between tensors and memory of their
// own.
//
// Only copies that are steps of their own are told: an element that is added on its way is none. A
// bucket's copies may alternate with its other work, unit by unit.
#pragma once

#include <cstdint>

#include "core/clock.h"

namespace rueda::backends {

enum class CopyWay { kIn, kOut };  // from tensors into the backend's memory; back

// Outlives the backends that know it. Called by whichever thread copies.
class CopyObserver {
 public:
  virtual ~CopyObserver() = default;
  // Whether anybody wants to know: otherwise the clock is not read.
  virtual bool on() const = 0;
  virtual TimePoint Now() const = 0;
  virtual void Copied(CopyWay way, int64_t bytes, TimePoint begun) = 0;
};

// Tells of what is copied while it lives: by how much `copied`, a running sum, grew. `observer` may
// be null.
class CopyWatch {
 public:
  CopyWatch(CopyObserver* observer, CopyWay way, const int64_t* copied)
      : observer_(observer != nullptr && observer->on() ? observer : nullptr),
        way_(way),
        copied_(copied),
        before_(*copied),
        begun_(observer_ != nullptr ? observer_->Now() : TimePoint{}) {}
  ~CopyWatch() {
    if (observer_ != nullptr && *copied_ > before_) {
      observer_->Copied(way_, *copied_ - before_, begun_);
    }
  }
  CopyWatch(const CopyWatch&) = delete;
  CopyWatch& operator=(const CopyWatch&) = delete;

 private:
  CopyObserver* const observer_;
  const CopyWay way_;
  const int64_t* const copied_;
  const int64_t before_;
  const TimePoint begun_;
};

}  // namespace rueda::backends
