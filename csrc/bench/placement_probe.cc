#include "bench/placement_probe.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "transport/waiter.h"

namespace rueda::bench {
namespace {

constexpr int kBlocks = 25;
// Reading the clock takes about as long as a round trip, so several are timed at once.
constexpr int kTripsInBlock = 4;
constexpr uint64_t kTrips = kBlocks * kTripsInBlock;
constexpr int kFigure = kFigures - 1;
// A rank that is not running now cannot answer; then the figure would be worthless anyway.
constexpr int kMostPauses = 1 << 14;

bool Await(const std::atomic<uint64_t>& word, uint64_t value) {
  for (int pauses = 0; pauses < kMostPauses; ++pauses) {
    if (word.load(std::memory_order_acquire) >= value) return true;
    transport::CpuPause();
  }
  return false;
}

// Throws the line and waits for its return, block by block; the median round trip. If it does not
// come back, all further trips are thrown at once and the answer is as long as that took.
double Throw(std::atomic<uint64_t>& own, const std::atomic<uint64_t>& other) {
  std::array<double, kBlocks> blocks{};
  uint64_t trip = own.load(std::memory_order_relaxed);
  const uint64_t last = trip + kTrips;
  for (double& block : blocks) {
    const auto began = std::chrono::steady_clock::now();
    bool returned = true;
    for (int i = 0; i < kTripsInBlock && returned; ++i) {
      own.store(++trip, std::memory_order_release);
      returned = Await(other, trip);
    }
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - began;
    block = took.count() / kTripsInBlock;
    if (!returned) {
      own.store(last, std::memory_order_release);
      return took.count();
    }
  }
  std::nth_element(blocks.begin(), blocks.begin() + kBlocks / 2, blocks.end());
  return blocks[kBlocks / 2];
}

void Return(std::atomic<uint64_t>& own, const std::atomic<uint64_t>& other) {
  const uint64_t first = own.load(std::memory_order_relaxed);
  for (uint64_t trip = first + 1; trip <= first + kTrips; ++trip) {
    (void)Await(other, trip);
    own.store(trip, std::memory_order_release);
  }
}

}  // namespace

Result<double> ProbePlacement(Board& board) {
  board.Post(kFigure, 0);
  for (int pair = 0; pair + 1 < board.size(); ++pair) {
    RUEDA_RETURN_IF_ERROR(board.StartLine());
    if (board.rank() == pair) board.Post(kFigure, Throw(board.ping(pair), board.pong(pair + 1)));
    if (board.rank() == pair + 1) Return(board.pong(pair + 1), board.ping(pair));
  }
  RUEDA_RETURN_IF_ERROR(board.StartLine());
  double slowest = 0;
  for (int rank = 0; rank < board.size(); ++rank) {
    slowest = std::max(slowest, board.Read(rank, kFigure));
  }
  // Nobody posts again before all have read.
  RUEDA_RETURN_IF_ERROR(board.StartLine());
  return slowest;
}

}  // namespace rueda::bench
