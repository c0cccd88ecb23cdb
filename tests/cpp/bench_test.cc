// The benchmark's C++ core, with ranks as threads: that it counts and sums right. What it measures
// is not asserted.
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <future>
#include <memory>
#include <numeric>
#include <vector>

#include "backend_world.h"
#include "bench/beside_compute.h"
#include "bench/board.h"
#include "bench/engine_procedure.h"
#include "bench/limit.h"
#include "bench/measure.h"
#include "bench/placement_probe.h"
#include "bench/socket_procedure.h"
#include "deadline.h"
#include "thread_job.h"

namespace rueda::testing {
namespace {

using bench::Board;

// Boards over one memory, a thread for each.
class BoardRanks {
 public:
  explicit BoardRanks(int size)
      : deadline_("ranks at a board"), memory_(std::make_unique<bench::BoardMemory>()) {
    for (int rank = 0; rank < size; ++rank) {
      boards_.push_back(Board::Over(memory_.get(), rank, size));
    }
  }

  template <typename Body>
  auto ForEach(Body body) {
    using Value = decltype(body(*boards_.front()));
    std::vector<std::future<Value>> running;
    for (auto& board : boards_) {
      running.push_back(std::async(std::launch::async, [&] { return body(*board); }));
    }
    std::vector<Value> values;
    for (auto& one : running) values.push_back(one.get());
    return values;
  }

 private:
  Deadline deadline_;
  std::unique_ptr<bench::BoardMemory> memory_;
  std::vector<std::unique_ptr<Board>> boards_;
};

void Meet(Board& board) {
  board.Arrive();
  while (!board.AwaitMet(std::chrono::milliseconds(100))) {
  }
}

class CountingProcedure final : public bench::Procedure {
 public:
  explicit CountingProcedure(bool fresh) : fresh_(fresh) {}
  std::span<uint8_t> input() override { return bytes_; }
  std::span<uint8_t> output() override { return bytes_; }
  bool wants_fresh_input() const override { return fresh_; }
  Status Call() override {
    ++calls;
    return Status::Ok();
  }

  int64_t calls = 0;

 private:
  const bool fresh_;
  std::vector<uint8_t> bytes_ = std::vector<uint8_t>(64);
};

}  // namespace

TEST_CASE("figures posted before a meeting are read by all after it") {
  BoardRanks ranks(3);
  const auto sums = ranks.ForEach([](Board& board) {
    double sum = 0;
    for (int round = 1; round <= 20; ++round) {
      board.Post(0, round * (board.rank() + 1));
      Meet(board);
      for (int rank = 0; rank < board.size(); ++rank) sum += board.Read(rank, 0);
      Meet(board);
    }
    return sum;
  });
  for (const double sum : sums) REQUIRE(sum == 6 * 210);
}

TEST_CASE("nobody passes the start line before the last one came") {
  BoardRanks ranks(3);
  std::atomic<int> arrived{0};
  const auto seen = ranks.ForEach([&](Board& board) {
    std::vector<int> counts;
    for (int round = 0; round < 50; ++round) {
      arrived.fetch_add(1);
      if (!board.StartLine().ok()) return counts;
      counts.push_back(arrived.load());
      if (!board.StartLine().ok()) return counts;
    }
    return counts;
  });
  for (const auto& counts : seen) {
    REQUIRE(counts.size() == 50);
    for (size_t round = 0; round < counts.size(); ++round) {
      REQUIRE(counts[round] == static_cast<int>(3 * (round + 1)));
    }
  }
}

TEST_CASE("every rank gets the same answer from the probe") {
  for (const int size : {1, 2, 3}) {
    BoardRanks ranks(size);
    const auto trips = ranks.ForEach([](Board& board) {
      double last = -1;
      for (int round = 0; round < 3; ++round) last = bench::ProbePlacement(board).value();
      return last;
    });
    for (const double trip : trips) REQUIRE(trip == trips.front());
    REQUIRE((trips.front() > 0) == (size > 1));
  }
}

TEST_CASE("a board is refused when the file or the ranks do not fit") {
  const transport::UniqueFd small = transport::CreateArenaFile(4096).value();
  REQUIRE(Board::Attach(small.get(), 0, 2).status().code() == StatusCode::kCorrupt);
  REQUIRE(Board::Attach(small.get(), 2, 2).status().code() == StatusCode::kInvalidArgument);
  REQUIRE(Board::Attach(small.get(), 0, bench::kMostRanks + 1).status().code() ==
          StatusCode::kInvalidArgument);
}

TEST_CASE("reading and writing touches every byte once") {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{1000003}}) {
    bench::Memory memory = bench::AllocateMemory(static_cast<int64_t>(bytes));
    const std::span<uint8_t> span(memory.get(), bytes);
    for (size_t i = 0; i < bytes; ++i) span[i] = static_cast<uint8_t>(i % 100);
    bench::ReadAndWrite(span, 0x0101010101010101U);
    size_t wrong = 0;
    for (size_t i = 0; i < bytes; ++i) wrong += span[i] != i % 100 + 1;
    REQUIRE(wrong == 0);
    REQUIRE(memory[bytes] == 0);
  }
}

TEST_CASE("a sample makes as many calls as it was told, and times all of them") {
  BoardRanks ranks(2);
  struct Case {
    bool fresh;
    int64_t calls, block, made;
    size_t blocks;
  };
  for (const Case& c : {Case{false, 10, 4, 11, 3}, Case{false, 1, 1, 1, 1},
                        Case{true, 10, 4, 11, 10}, Case{true, 1, 1, 1, 1}}) {
    const auto found = ranks.ForEach([&](Board& board) {
      CountingProcedure procedure(c.fresh);
      const auto sample = bench::Measure(board, procedure, c.calls, c.block);
      return std::make_pair(procedure.calls, sample.ok() ? sample->call_seconds.size() : 0);
    });
    for (const auto& [calls, blocks] : found) {
      REQUIRE(calls == c.made);
      REQUIRE(blocks == c.blocks);
    }
  }
}

TEST_CASE("the socket ring sums what an all-reduce sums") {
  for (const int size : {1, 2, 3, 4}) {
    for (const int64_t count : {int64_t{1}, int64_t{3}, int64_t{997}, int64_t{300007}}) {
      BoardRanks ranks(size);
      std::vector<std::array<int, 2>> links(static_cast<size_t>(size));
      for (auto& link : links) {
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link.data()) == 0);
      }
      const auto wrong = ranks.ForEach([&](Board& board) {
        const auto own = static_cast<size_t>(board.rank());
        const size_t before = (own + links.size() - 1) % links.size();
        bench::Collective collective;
        collective.dtype = DType::kInt32;
        collective.count = count;
        auto procedure = bench::SocketProcedure::Make(board.rank(), size, links[own][0],
                                                      links[before][1], collective);
        if (!procedure.ok()) return int64_t{-1};
        auto* values = reinterpret_cast<int32_t*>((*procedure)->input().data());
        for (int64_t i = 0; i < count; ++i) {
          values[i] = static_cast<int32_t>(i % 1000 + board.rank());
        }
        if (!(*procedure)->Call().ok()) return int64_t{-2};
        int64_t found = 0;
        for (int64_t i = 0; i < count; ++i) {
          found += values[i] != size * (i % 1000) + size * (size - 1) / 2;
        }
        return found;
      });
      for (const int64_t found : wrong) REQUIRE(found == 0);
      for (const auto& link : links) {
        ::close(link[0]);
        ::close(link[1]);
      }
    }
  }
}

TEST_CASE("the engine's procedure reduces in shared and in private memory") {
  ThreadJob job(2);
  for (const bool shared : {false, true}) {
    const auto sums = job.ForEachRank([&](int rank) {
      std::shared_ptr<engine::Engine> engine(&job.engine(rank), [](engine::Engine*) {});
      bench::Collective collective;
      collective.count = 1003;
      auto made = bench::EngineProcedure::Make(engine, shared ? "s" : "p", collective, shared);
      if (!made.ok()) return -1.0;
      bench::Procedure& procedure = **made;
      auto* values = reinterpret_cast<float*>(procedure.input().data());
      for (int i = 0; i < 1003; ++i) values[i] = static_cast<float>(rank + 1);
      if (!procedure.Call().ok() || procedure.wants_fresh_input() != shared) return -2.0;
      const auto* results = reinterpret_cast<const float*>(procedure.output().data());
      return std::accumulate(results, results + 1003, 0.0);
    });
    for (const double sum : sums) REQUIRE(sum == 3.0 * 1003);
  }
}

TEST_CASE("computing goes on while calls are made") {
  bench::BesidePlan plan;
  plan.slice = std::chrono::milliseconds(5);
  plan.slices = 2;
  double computed = 0;
  double beside_waking = 0;
  // On a busy machine the computing thread may get no turn in slices as short as these.
  for (const TimePoint end = Patience();
       (computed == 0 || beside_waking == 0) && SteadyClock().Now() < end;) {
    CountingProcedure procedure(false);
    const auto figures = bench::MeasureBeside(procedure, plan);
    REQUIRE(figures.ok());
    REQUIRE(figures->call_seconds.size() == 10);
    REQUIRE(procedure.calls == 10 + 4);
    computed = figures->alone_per_second;
    beside_waking = figures->waking_per_second;
  }
  REQUIRE(computed > 0);
  REQUIRE(beside_waking > 0);
}

}  // namespace rueda::testing
