// Recorder: the spans of one rank until they are passed on, in memory that does not grow.
//
// The engine thread records without a lock; other threads share a chunk of their own under a mutex.
// When nobody takes what is recorded, new chunks are dropped and their spans counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "core/clock.h"
#include "timeline/chunk.h"

namespace rueda::timeline {

class Recorder {
 public:
  // Full chunks that are kept: 4 MiB.
  static constexpr size_t kMaxChunks = 256;
  static constexpr size_t kManyChunks = 8;
  static constexpr Duration kLongest = std::chrono::milliseconds(250);

  explicit Recorder(std::shared_ptr<const Clock> clock) : clock_(std::move(clock)) {}

  // Whether anything is to be recorded: the one look that a hook costs when it is not. Any thread.
  // Relaxed: a span more or less at the edges does no harm.
  bool on() const { return on_.load(std::memory_order_relaxed); }
  bool marks_frames() const { return marks_frames_.load(std::memory_order_relaxed); }
  // Any thread.
  void Start(bool mark_frames);
  void Stop() { on_.store(false, std::memory_order_relaxed); }
  // When it was last started, in the time of spans: older moments belong to a recording before.
  int64_t started() const { return started_.load(std::memory_order_relaxed); }
  // The time that spans carry. Any thread.
  int64_t Now() const { return clock_->Now().time_since_epoch().count(); }

  // Engine thread.
  void Record(const RequestSpan& span);
  void Record(const BucketSpan& span);
  void Record(const FrameMark& mark);
  // Any thread.
  void Record(const WaitSpan& span);
  void Record(const CopySpan& span);

  // Engine thread. When what there is should be taken: at once if there is much, which is passed on
  // together because each time costs its taker a waking; some time after the oldest span was
  // recorded; kNever if there is none. Spans of other threads do not count: they come with others.
  TimePoint due() const;
  // Full chunks first, then what there is. Empty if there is none.
  std::optional<std::vector<uint8_t>> TakeChunk();
  // Engine thread, also while nothing is recorded: agreed requests that have not completed. A rank
  // that is told to stop ends what is under way first.
  void CountBegun() { ++under_way_; }
  void CountEnded() { --under_way_; }
  bool quiet() const { return under_way_ == 0; }
  // Spans for which there was no room, since the start. Engine thread.
  uint64_t dropped() const { return dropped_; }
  // Forgets everything.
  void Clear();

 private:
  template <typename Span>
  void Append(const Span& span);
  template <typename Span>
  void AppendFromElsewhere(const Span& span);
  void Keep(ChunkWriter* chunk);
  void TakeOver();

  const std::shared_ptr<const Clock> clock_;
  std::atomic<bool> on_{false};
  std::atomic<bool> marks_frames_{false};
  std::atomic<int64_t> started_{0};

  // The engine thread's.
  ChunkWriter chunk_;
  std::deque<std::vector<uint8_t>> full_;
  TimePoint oldest_ = kNever;
  uint64_t dropped_ = 0;
  int64_t under_way_ = 0;

  std::mutex mutex_;
  ChunkWriter elsewhere_;                             // guarded by mutex_
  std::vector<std::vector<uint8_t>> elsewhere_full_;  // guarded by mutex_
  uint64_t elsewhere_dropped_ = 0;                    // guarded by mutex_
  std::atomic<bool> elsewhere_any_{false};            // set under mutex_
};

}  // namespace rueda::timeline
