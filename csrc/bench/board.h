// Board: the shared memory through which the ranks of one benchmark run meet and tell figures.
//
// Two ways to meet. Sleepers (Arrive, AwaitMet) are what separates samples: nobody spins, so that a
// peer library that hands work between threads is not disturbed. StartLine spins and yields; it
// lets a timed loop begin together, and is the barrier inside the limit loop. One object a process,
// for one thread at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "core/clock.h"
#include "core/status.h"

namespace rueda::bench {

inline constexpr int kMostRanks = 64;
inline constexpr int kFigures = 16;
// How long a rank waits for another one before it gives up (I6).
inline constexpr Duration kMeetingLimit = std::chrono::seconds(120);

// What one rank shows; a line of its own for each word that somebody spins on. Zeroed at first.
struct BoardRank {
  alignas(128) std::atomic<uint64_t> line;
  alignas(128) std::atomic<uint64_t> ping;  // thrown to the next rank
  alignas(128) std::atomic<uint64_t> pong;  // returned to the one before
  alignas(128) std::array<std::atomic<double>, kFigures> figures;
};

struct BoardMemory {
  alignas(128) std::atomic<uint32_t> arrived;
  alignas(128) std::atomic<uint32_t> meetings;
  std::array<BoardRank, kMostRanks> ranks;
};

class Board {
 public:
  // Maps the file, at least sizeof(BoardMemory) long and zeroed; all ranks give the same one.
  static Result<std::unique_ptr<Board>> Attach(int file, int rank, int size);
  // Over memory that outlives it, for ranks that are threads.
  static std::unique_ptr<Board> Over(BoardMemory* memory, int rank, int size);
  ~Board();
  Board(const Board&) = delete;
  Board& operator=(const Board&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  // Comes to the next meeting; AwaitMet sleeps until all have come (true), or for a slice at most
  // and until a signal (false), so that a caller can look for Ctrl-C.
  void Arrive();
  bool AwaitMet(Duration slice);

  // Waits, spinning and yielding, until all ranks have called it as often. kTimedOut names a rank
  // that did not come.
  Status StartLine();

  // Written by their rank before a meeting, read by all after it.
  void Post(int index, double figure);
  double Read(int rank, int index) const;

  std::atomic<uint64_t>& ping(int rank) { return of(rank).ping; }
  std::atomic<uint64_t>& pong(int rank) { return of(rank).pong; }

 private:
  Board(BoardMemory* memory, int rank, int size, bool mapped)
      : memory_(memory), rank_(rank), size_(size), mapped_(mapped) {}
  BoardRank& of(int rank) const { return memory_->ranks[static_cast<size_t>(rank)]; }
  Status AwaitLine(int rank);

  BoardMemory* memory_;
  const int rank_;
  const int size_;
  const bool mapped_;  // by Attach
  uint32_t met_ = 0;   // meetings that this rank knows to be over
  uint64_t line_ = 0;  // how often it came to the start line
};

}  // namespace rueda::bench
