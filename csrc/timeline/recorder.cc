#include "timeline/recorder.h"

#include <utility>

namespace rueda::timeline {
namespace {

// Chunks of other threads that wait for the engine thread.
constexpr size_t kMaxElsewhere = 32;

}  // namespace

void Recorder::Start(bool mark_frames) {
  marks_frames_.store(mark_frames, std::memory_order_relaxed);
  started_.store(Now(), std::memory_order_relaxed);
  on_.store(true, std::memory_order_relaxed);
}

void Recorder::Keep(ChunkWriter* chunk) {
  const size_t spans = chunk->spans();
  if (spans == 0) return;
  std::vector<uint8_t> bytes = chunk->Take();
  if (full_.size() < kMaxChunks) {
    full_.push_back(std::move(bytes));
  } else {
    dropped_ += spans;
  }
}

template <typename Span>
void Recorder::Append(const Span& span) {
  if (chunk_.spans() == 0 && oldest_ == kNever) oldest_ = clock_->Now();
  if (chunk_.Append(span)) return;
  Keep(&chunk_);
  (void)chunk_.Append(span);  // an empty chunk has room
}

template <typename Span>
void Recorder::AppendFromElsewhere(const Span& span) {
  const std::lock_guard lock(mutex_);
  elsewhere_any_.store(true, std::memory_order_relaxed);
  if (elsewhere_.Append(span)) return;
  const size_t spans = elsewhere_.spans();
  std::vector<uint8_t> bytes = elsewhere_.Take();
  if (elsewhere_full_.size() < kMaxElsewhere) {
    elsewhere_full_.push_back(std::move(bytes));
  } else {
    elsewhere_dropped_ += spans;
  }
  (void)elsewhere_.Append(span);
}

void Recorder::Record(const RequestSpan& span) { Append(span); }
void Recorder::Record(const BucketSpan& span) { Append(span); }
void Recorder::Record(const FrameMark& mark) { Append(mark); }
void Recorder::Record(const WaitSpan& span) { AppendFromElsewhere(span); }
void Recorder::Record(const CopySpan& span) { AppendFromElsewhere(span); }

// What other threads recorded becomes the engine thread's.
void Recorder::TakeOver() {
  if (!elsewhere_any_.load(std::memory_order_relaxed)) return;
  const std::lock_guard lock(mutex_);
  elsewhere_any_.store(false, std::memory_order_relaxed);
  for (std::vector<uint8_t>& bytes : elsewhere_full_) full_.push_back(std::move(bytes));
  elsewhere_full_.clear();
  dropped_ += std::exchange(elsewhere_dropped_, 0);
  Keep(&elsewhere_);
}

TimePoint Recorder::due() const {
  if (full_.size() >= kManyChunks) return TimePoint{};
  return oldest_ == kNever ? kNever : oldest_ + kLongest;
}

std::optional<std::vector<uint8_t>> Recorder::TakeChunk() {
  if (full_.empty()) {
    Keep(&chunk_);
    TakeOver();
  }
  if (full_.empty()) {
    oldest_ = kNever;
    return std::nullopt;
  }
  std::vector<uint8_t> taken = std::move(full_.front());
  full_.pop_front();
  if (full_.empty() && chunk_.spans() == 0) oldest_ = kNever;
  return taken;
}

void Recorder::Clear() {
  while (TakeChunk()) {
  }
  dropped_ = 0;
}

}  // namespace rueda::timeline
