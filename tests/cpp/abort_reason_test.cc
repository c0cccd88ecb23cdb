#include "backends/abort_reason.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <string>
#include <thread>
#include <vector>

namespace rueda::testing {
namespace {

using backends::AbortReason;

TEST_CASE("abort reason: ok until it is set; the first one stays") {
  AbortReason reason;
  CHECK(reason.Check().ok());
  const Status first = Status(StatusCode::kPeerLost, "rank 1 was lost").Blame(1);
  CHECK(reason.Set(first));
  CHECK_FALSE(reason.Set({StatusCode::kShutDown, "a later reason does not count"}));
  CHECK(reason.Check() == first);
}

// A run that failed tells what Check says: were that ok, half a sum would pass for a whole one.
TEST_CASE("abort reason: whoever has set one is told one, though another came first") {
  constexpr int kThreads = 3, kRounds = 20000;
  std::vector<AbortReason> reasons(kRounds);
  std::atomic<int> first{0}, told_ok{0}, told_different{0};
  std::atomic<int> arrived{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      const Status own(StatusCode::kCorrupt, "thread " + std::to_string(thread));
      for (int round = 0; round < kRounds; ++round) {
        AbortReason& reason = reasons[static_cast<size_t>(round)];
        arrived.fetch_add(1);
        while (arrived.load() < kThreads * (round + 1)) std::this_thread::yield();
        const bool is_first = reason.Set(own);
        const Status told = reason.Check();
        if (is_first) ++first;
        if (told.ok()) ++told_ok;
        if (is_first != (told == own)) ++told_different;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(first == kRounds);
  CHECK(told_ok == 0);
  CHECK(told_different == 0);
}

}  // namespace
}  // namespace rueda::testing
