#include "bench/board.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "transport/doorbell.h"
#include "transport/waiter.h"

namespace rueda::bench {
namespace {

constexpr int kPauses = 50;
// The clock is looked at once in so many yields.
constexpr uint64_t kYieldsBetweenLooks = 256;

}  // namespace

Result<std::unique_ptr<Board>> Board::Attach(int file, int rank, int size) {
  if (size < 1 || size > kMostRanks || rank < 0 || rank >= size) {
    return Status(StatusCode::kInvalidArgument,
                  "a benchmark has 1 to " + std::to_string(kMostRanks) + " ranks, found rank " +
                      std::to_string(rank) + " of " + std::to_string(size));
  }
  struct stat facts {};
  if (::fstat(file, &facts) != 0) return SystemError("looking at the board", errno);
  if (facts.st_size < static_cast<off_t>(sizeof(BoardMemory))) {
    return Status(StatusCode::kCorrupt, "the board has " + std::to_string(facts.st_size) +
                                            " bytes, not " + std::to_string(sizeof(BoardMemory)));
  }
  void* const memory =
      ::mmap(nullptr, sizeof(BoardMemory), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) return SystemError("mapping the board", errno);
  return std::unique_ptr<Board>(new Board(static_cast<BoardMemory*>(memory), rank, size, true));
}

std::unique_ptr<Board> Board::Over(BoardMemory* memory, int rank, int size) {
  return std::unique_ptr<Board>(new Board(memory, rank, size, false));
}

Board::~Board() {
  if (mapped_) ::munmap(memory_, sizeof(BoardMemory));
}

void Board::Arrive() {
  // The last one makes room for the next meeting before it ends this one (release), so whoever has
  // seen the end (acquire) counts from zero.
  if (memory_->arrived.fetch_add(1, std::memory_order_acq_rel) + 1 < static_cast<uint32_t>(size_)) {
    return;
  }
  memory_->arrived.store(0, std::memory_order_relaxed);
  memory_->meetings.fetch_add(1, std::memory_order_release);
  transport::FutexWakeAll(&memory_->meetings);
}

bool Board::AwaitMet(Duration slice) {
  const TimePoint until = std::chrono::steady_clock::now() + slice;
  if (memory_->meetings.load(std::memory_order_acquire) == met_) {
    transport::FutexWait(&memory_->meetings, met_, until);
  }
  if (memory_->meetings.load(std::memory_order_acquire) == met_) return false;
  ++met_;
  return true;
}

Status Board::StartLine() {
  of(rank_).line.store(++line_, std::memory_order_release);
  for (int other = 0; other < size_; ++other) {
    if (other != rank_) RUEDA_RETURN_IF_ERROR(AwaitLine(other));
  }
  return Status::Ok();
}

Status Board::AwaitLine(int rank) {
  const auto arrived = [&] { return of(rank).line.load(std::memory_order_acquire) >= line_; };
  for (int pause = 0; pause < kPauses; ++pause) {
    if (arrived()) return Status::Ok();
    transport::CpuPause();
  }
  const TimePoint limit = std::chrono::steady_clock::now() + kMeetingLimit;
  for (uint64_t yields = 1; !arrived(); ++yields) {
    ::sched_yield();
    if (yields % kYieldsBetweenLooks == 0 && std::chrono::steady_clock::now() > limit) {
      return Status(StatusCode::kTimedOut,
                    "rank " + std::to_string(rank) + " did not come to the start of a sample");
    }
  }
  return Status::Ok();
}

void Board::Post(int index, double figure) {
  of(rank_).figures.at(static_cast<size_t>(index)).store(figure, std::memory_order_relaxed);
}

double Board::Read(int rank, int index) const {
  return of(rank).figures.at(static_cast<size_t>(index)).load(std::memory_order_relaxed);
}

}  // namespace rueda::bench
