// Tracer: what the stages of an engine tell its timeline of the works that go through them.
//
// Hooks ask on() first: without a timeline that is all they cost.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/copy_observer.h"
#include "core/status.h"
#include "timeline/recorder.h"

namespace rueda::control {
struct Frame;
struct Arrival;
}  // namespace rueda::control

namespace rueda::engine {

struct BucketJob;
struct Work;

// When a work went from one stage to the next, as timeline::RequestSpan has it.
struct WorkTimes {
  int64_t submitted = 0;
  int64_t offered = 0;
  int64_t agreed = 0;
  int64_t begun = 0;
  int64_t done = 0;
  uint64_t frame = 0;
  uint64_t bucket = 0;
  int32_t last_rank = -1;
  int64_t spread = 0;
};

// What backends copy, on whichever thread.
class CopyTracer final : public backends::CopyObserver {
 public:
  explicit CopyTracer(std::shared_ptr<timeline::Recorder> recorder)
      : recorder_(std::move(recorder)) {}

  bool on() const override { return recorder_->on(); }
  TimePoint Now() const override { return TimePoint(Duration(recorder_->Now())); }
  void Copied(backends::CopyWay way, int64_t bytes, TimePoint begun) override;

 private:
  const std::shared_ptr<timeline::Recorder> recorder_;
};

// The engine thread's, but for on, Now and Submitted, which any thread may call.
class Tracer {
 public:
  Tracer() = default;
  explicit Tracer(std::shared_ptr<timeline::Recorder> recorder) : recorder_(std::move(recorder)) {}

  bool on() const { return recorder_ != nullptr && recorder_->on(); }
  int64_t Now() const { return recorder_->Now(); }

  // A work was agreed on, and has ended; whether or not anything is recorded.
  void CountAgreed() const {
    if (recorder_ != nullptr) recorder_->CountBegun();
  }
  void CountEnded(const Work& work) const;

  // Before the work is in the table.
  void Submitted(Work* work, int64_t at) const;
  void Offered(const std::vector<Work*>& works) const;
  // Until the next one, what is agreed was agreed by this frame.
  void TookFrame(const control::Frame& frame);
  void Agreed(Work* work, const control::Arrival& arrival) const;
  void Began(const BucketJob& job, int64_t at) const;
  void Ended(const BucketJob& job, int64_t begun, const Status& status) const;
  // Before the ticket is.
  void Completed(const Work& work, const Status& status) const;

 private:
  std::shared_ptr<timeline::Recorder> recorder_;
  uint64_t frame_ = 0;
  int64_t frame_at_ = 0;
};

}  // namespace rueda::engine
