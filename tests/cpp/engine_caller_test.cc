// Callers that drive the engine while they wait: who does the work, and that nothing is left
// undone.
#include <algorithm>
#include <atomic>
#include <bit>
#include <catch2/catch.hpp>
#include <cfenv>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/doze.h"
#include "engine_fakes.h"
#include "status_text.h"
#include "thread_job.h"
#include "transport/waiter.h"

namespace rueda::testing {
namespace {

Result<engine::TicketPtr> SubmitDriven(engine::Engine& engine, const std::string& name,
                                       std::vector<float>* values) {
  const TensorView view{values->data(), static_cast<int64_t>(values->size()), DType::kFloat32};
  const auto request = RequestFor(name, view.count);
  return engine.Submit({request, {{view}, {view}}, nullptr, /*urgent=*/true, /*driven=*/true});
}

// Calls that went wrong, of one that every rank adds its number plus one in.
int CallsWrong(ThreadJob& job, int rank, const std::string& name, int64_t count) {
  const int size = job.size();
  std::vector<float> values(static_cast<size_t>(count), static_cast<float>(rank + 1));
  if (!Finish(job.engine(rank), SubmitDriven(job.engine(rank), name, &values)).ok()) return 1;
  const auto expected = static_cast<float>(size * (size + 1) / 2);
  return !std::all_of(values.begin(), values.end(), [&](float one) { return one == expected; });
}

TEST_CASE("callers do the work of the calls that they wait for", "[engine][caller]") {
  constexpr int kCalls = 300;
  const int size = GENERATE(1, 2, 3);
  std::vector<std::thread::id> callers(static_cast<size_t>(size));
  std::atomic<int> by_callers{0}, by_engines{0};
  ThreadJob job(size, {}, [&](int rank, engine::EngineParts& parts) {
    parts.backend = std::make_unique<SteppedBackend>(
        std::move(parts.backend), [&, rank]() -> Result<backends::Progress> {
          const bool is_caller = std::this_thread::get_id() == callers[static_cast<size_t>(rank)];
          ++(is_caller ? by_callers : by_engines);
          return backends::Progress::kMoved;
        });
  });
  const auto wrong = job.ForEachRank([&](int rank) {
    callers[static_cast<size_t>(rank)] = std::this_thread::get_id();
    int sum = 0;
    for (int i = 0; i < kCalls; ++i) sum += CallsWrong(job, rank, "x", 1 + i % 7);
    return sum;
  });
  for (const int one : wrong) CHECK(one == 0);
  // A call whose peers are late is left to the engine, so the share is the machine's matter.
  CAPTURE(by_engines);
  CHECK(by_callers > 0);
}

class CountingClock final : public Clock {
 public:
  TimePoint Now() const override {
    ++readings;
    return SteadyClock().Now();
  }
  mutable std::atomic<int> readings{0};
};

// Each takes 25 to 40 ns of a call of some microseconds.
TEST_CASE("a call looks at the clock a few times", "[engine][caller]") {
  constexpr int kCalls = 1000;
  const auto clock = std::make_shared<CountingClock>();
  ThreadJob job(1, {}, [&](int, engine::EngineParts& parts) { parts.clock = clock; });
  REQUIRE(CallsWrong(job, 0, "x", 2) == 0);
  const int before = clock->readings;
  int wrong = 0;
  for (int i = 0; i < kCalls; ++i) wrong += CallsWrong(job, 0, "x", 2);
  CHECK(wrong == 0);
  // Where it is offered, absorbed, decided, begun, watched and done; and the engine thread's now
  // and then.
  CHECK(clock->readings - before < 9 * kCalls);
}

TEST_CASE("several callers of a rank and asynchronous work get along", "[engine][caller]") {
  constexpr int kThreads = 3, kCalls = 150;
  ThreadJob job(3);
  const auto wrong = job.ForEachRank([&](int rank) {
    std::atomic<int> sum{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        std::mt19937 random(static_cast<uint32_t>(thread));  // the same calls on all ranks
        const std::string name = std::to_string(thread);
        for (int i = 0; i < kCalls; ++i) {
          std::vector<float> values(5, 1.0f);
          const auto later = SubmitInPlace(job.engine(rank), RequestFor("later" + name, 5), &values,
                                           /*urgent=*/i % 2 == 0);
          sum += CallsWrong(job, rank, "now" + name, 1 + static_cast<int64_t>(random() % 2000));
          sum += !Finish(job.engine(rank), later).ok() || values != std::vector<float>(5, 3.0f);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return sum.load();
  });
  for (const int one : wrong) CHECK(one == 0);
}

// Rank 0 ends a call of its own with other work in flight, and looks away. Its engine thread, which
// sleeps or dozes, has to do that work when the other ranks get to it.
TEST_CASE("what a caller leaves undone is done without it", "[engine][caller]") {
  constexpr int kRounds = 300;
  const int host = GENERATE(0, 1);  // with the coordinator, or without
  ThreadJob job(2);
  const auto wrong = job.ForEachRank([&](int rank) {
    std::mt19937 random(static_cast<uint32_t>(rank));
    int sum = 0;
    for (int i = 0; i < kRounds; ++i) {
      std::vector<float> values(3, 1.0f);
      const auto submit = [&] {
        return SubmitInPlace(job.engine(rank), RequestFor("later", 3), &values, /*urgent=*/false);
      };
      // Short and long, so that the thread of the other one is asleep as often as not.
      for (uint32_t pauses = random() % 4 == 0 ? random() % 20'000 : 0; pauses > 0; --pauses) {
        transport::CpuPause();
      }
      if (rank == host) {
        const auto later = submit();
        sum += CallsWrong(job, rank, "now", 1 + i % 5);
        // Not Engine::Wait: this thread drives nothing.
        sum += !later.ok() || (*later)->Wait() != engine::Ticket::Wake::kDone;
      } else {
        sum += CallsWrong(job, rank, "now", 1 + i % 5);
        sum += !Finish(job.engine(rank), submit()).ok();
      }
      sum += values != std::vector<float>(3, 2.0f);
    }
    return sum;
  });
  for (const int one : wrong) CHECK(one == 0);
}

TEST_CASE("soon after the last call the engines sleep for good", "[engine][caller]") {
  const auto rounds = std::make_shared<std::atomic<int>>(0);
  ThreadJob job(2, {}, [&](int, engine::EngineParts& parts) {
    parts.membership = std::make_unique<CountingMembership>(std::move(parts.membership), rounds);
  });
  job.ForEachRank([&](int rank) {
    int sum = 0;
    for (int i = 0; i < 200; ++i) sum += CallsWrong(job, rank, "x", 10);
    return sum;
  });
  Bell never;
  never.WaitPast(0, SteadyClock().Now() + 4 * engine::Doze::kLongest);
  const int before = *rounds;
  never.WaitPast(0, SteadyClock().Now() + 8 * engine::Doze::kLongest);
  // One that wakes up late for the end of its doze looks around twice; who does so at the end of
  // each would do it 16 times.
  CHECK(*rounds - before < 12);
}

TEST_CASE("an error that a caller meets ends the epoch on all ranks", "[engine][caller]") {
  const Status broken(StatusCode::kSystem, "the memory is gone");
  const int failing = GENERATE(0, 1);
  std::atomic<bool> fails{false};
  ThreadJob job(2, {}, [&](int rank, engine::EngineParts& parts) {
    if (rank != failing) return;
    parts.backend = std::make_unique<SteppedBackend>(std::move(parts.backend),
                                                     [&]() -> Result<backends::Progress> {
                                                       if (fails) return broken;
                                                       return backends::Progress::kMoved;
                                                     });
  });
  const auto call = [&](int rank) { return CallsWrong(job, rank, "x", 10); };
  for (const int wrong : job.ForEachRank(call)) REQUIRE(wrong == 0);
  fails = true;
  for (const int wrong : job.ForEachRank(call)) CHECK(wrong == 1);
  for (int rank = 0; rank < 2; ++rank) {
    CHECK(job.engine(rank).first_error().code() == StatusCode::kSystem);
    CHECK_THAT(job.engine(rank).first_error().message(), Catch::Contains("the memory is gone"));
  }
}

#ifdef __x86_64__
TEST_CASE("a caller adds as the engine does, and keeps its floating-point mode",
          "[engine][caller]") {
  constexpr unsigned kFlushToZeroAndDenormalsAreZero = 0x8040;
  constexpr float kDenormal = std::numeric_limits<float>::denorm_min();
  ThreadJob job(2);
  const auto wrong = job.ForEachRank([&](int rank) {
    const unsigned mode = __builtin_ia32_stmxcsr() | kFlushToZeroAndDenormalsAreZero;
    __builtin_ia32_ldmxcsr(mode);
    int sum = 0;
    for (int i = 0; i < 100; ++i) {
      std::vector<float> values(9, kDenormal);
      sum += !Finish(job.engine(rank), SubmitDriven(job.engine(rank), "x", &values)).ok();
      // Bits, because this thread takes denormals for zeros.
      const auto expected = std::bit_cast<uint32_t>(kDenormal) * 2;
      for (const float value : values) sum += std::bit_cast<uint32_t>(value) != expected;
      sum += (__builtin_ia32_stmxcsr() & kFlushToZeroAndDenormalsAreZero) !=
             kFlushToZeroAndDenormalsAreZero;
    }
    return sum;
  });
  for (const int one : wrong) CHECK(one == 0);
}
#endif

}  // namespace
}  // namespace rueda::testing
