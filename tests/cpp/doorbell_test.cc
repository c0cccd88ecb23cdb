// Doorbell: no wake-up is lost, between threads and between processes; deadlines; what rings mean.
#include "transport/doorbell.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <utility>

#include "channel_streams.h"
#include "deadline.h"
#include "transport/waiter.h"

namespace rueda::transport {
namespace {

using testing::Deadline;
using testing::Patience;
using Heed = Doorbell::Heed;

constexpr uint32_t kRounds = 20'000;

// Two sides that wait for each other, each with a doorbell of its own. Zeroed memory is a fresh
// one.
struct Table {
  Doorbell bells[2];
  std::atomic<uint32_t> turns;
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);

// Side 0 makes the even turns, side 1 the odd ones. Pauses of random length between preparing,
// looking for work and sleeping, and between making work and ringing, hit every moment of the
// other's steps.
enum class Who { kEverybody, kOwner, kCaller };

uint32_t Prepare(Doorbell& bell, Who who) {
  if (who == Who::kCaller) return bell.PrepareCaller();
  return bell.Prepare(who == Who::kOwner ? Heed::kOwner : Heed::kEverybody);
}

void Sleep(Doorbell& bell, Who who, uint32_t seen, TimePoint deadline) {
  if (who != Who::kCaller) return bell.Sleep(seen, deadline);
  bell.SleepAsCaller(seen, deadline);
}

bool Play(Table* table, uint32_t side, Who who = Who::kEverybody) {
  std::mt19937 random(side + 1);
  const auto dawdle = [&random] {
    for (uint32_t i = random() % 64; i > 32; --i) CpuPause();
  };
  const Patience patience;
  for (uint32_t turn = side; turn < 2 * kRounds; turn += 2) {
    Doorbell& own = table->bells[side];
    while (table->turns.load(std::memory_order_relaxed) != turn) {
      const uint32_t seen = Prepare(own, who);
      dawdle();
      if (table->turns.load(std::memory_order_relaxed) == turn) break;
      dawdle();
      Sleep(own, who, seen, patience.end());
      own.Cancel();
      if (patience.over()) return false;
    }
    own.Cancel();
    table->turns.store(turn + 1, std::memory_order_relaxed);
    dawdle();
    Doorbell& peers = table->bells[1 - side];
    who == Who::kOwner ? peers.RingAsOwner() : peers.Ring();
  }
  return true;
}

TEST_CASE("no ring is lost between threads", "[doorbell]") {
  const Deadline deadline("ping-pong of threads");
  const Who who = GENERATE(Who::kEverybody, Who::kOwner, Who::kCaller);
  const auto table = std::make_unique<Table>();
  bool other_finished = false;
  std::thread other([&] { other_finished = Play(table.get(), 1, who); });
  CHECK(Play(table.get(), 0, who));
  other.join();
  CHECK(other_finished);
  CHECK(table->turns == 2 * kRounds);
}

TEST_CASE("no ring is lost between processes", "[doorbell]") {
  const Deadline deadline("ping-pong of processes");
  void* const memory =
      ::mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  auto* const table = static_cast<Table*>(memory);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(Play(table, 1) ? 0 : 1);
  CHECK(Play(table, 0));
  int how = -1;
  REQUIRE(::waitpid(child, &how, 0) == child);
  CHECK(how == 0);
  ::munmap(memory, sizeof(Table));
}

TEST_CASE("a ring after preparing ends the sleep at once", "[doorbell]") {
  const Deadline deadline("a ring before the sleep");
  const auto bell = std::make_unique<Doorbell>();
  const uint32_t seen = bell->Prepare();
  bell->Ring();
  CHECK(bell->Sequence() != seen);
  bell->Sleep(seen, kNever);
  bell->Ring();
  bell->RingAsOwner();
  bell->Sleep(seen, kNever);
  CHECK(bell->Sequence() == seen + 3);
}

TEST_CASE("rings reach whom they are heeded by", "[doorbell]") {
  const auto bell = std::make_unique<Doorbell>();
  const auto rings = [&] {
    const uint32_t before = bell->Sequence();
    bell->Ring();
    const uint32_t between = bell->Sequence();
    bell->RingAsOwner();
    return std::pair(between - before, bell->Sequence() - between);
  };
  CHECK(rings() == std::pair(0u, 0u));  // nobody has prepared
  bell->Prepare(Heed::kOwner);
  CHECK(rings() == std::pair(0u, 1u));
  bell->Prepare();
  CHECK(rings() == std::pair(1u, 1u));
  bell->Cancel();
  CHECK(rings() == std::pair(0u, 0u));
}

TEST_CASE("while a caller sleeps every ring wakes it, and it alone", "[doorbell]") {
  const auto bell = std::make_unique<Doorbell>();
  const uint32_t engine_seen = bell->Prepare();
  const bool left_alone = GENERATE(false, true);
  const auto rings_heard = [&] {
    const uint32_t before = bell->PrepareCaller();
    if (left_alone) CHECK(bell->LeaveToCaller());
    bell->Ring();
    bell->RingAsOwner();
    CHECK(bell->SleepAsCaller(before, kNever) == EAGAIN);
    return bell->PrepareCaller() - before;
  };
  CHECK(rings_heard() == 2);
  CHECK(bell->Sequence() == engine_seen);
  bell->Cancel();
  const uint32_t seen = bell->PrepareCaller();
  bell->Prepare();
  bell->Ring();
  CHECK(bell->Sequence() == engine_seen + 1);  // the engine thread's again
  CHECK(bell->PrepareCaller() == seen);
}

TEST_CASE("the engine thread leaves everything to a caller that sleeps, and to no other",
          "[doorbell]") {
  const auto bell = std::make_unique<Doorbell>();
  CHECK_FALSE(bell->LeaveToCaller());
  bell->Prepare();
  CHECK_FALSE(bell->LeaveToCaller());
  bell->PrepareCaller();
  CHECK_FALSE(bell->CancelCaller());
  CHECK(bell->heed() == Heed::kNobody);
  bell->PrepareCaller();
  CHECK(bell->LeaveToCaller());
  CHECK_FALSE(bell->LeaveToCaller());
  CHECK(bell->CancelCaller());
  CHECK_FALSE(bell->LeaveToCaller());
}

TEST_CASE("a ring before preparing does not end the next sleep", "[doorbell]") {
  const Deadline deadline("a ring before the look");
  const auto bell = std::make_unique<Doorbell>();
  bell->Prepare();
  bell->Ring();
  const TimePoint until = SteadyClock().Now() + std::chrono::milliseconds(20);
  int sleeps = 0;
  for (; SteadyClock().Now() < until; ++sleeps) bell->Sleep(bell->Prepare(), until);
  CHECK(sleeps > 0);
  CHECK(sleeps < 10);  // signals may end one early, but it does not spin
}

TEST_CASE("a deadline that has passed ends the sleep at once", "[doorbell]") {
  const Deadline deadline("past deadlines");
  const auto bell = std::make_unique<Doorbell>();
  bell->Sleep(bell->Prepare(), TimePoint{});
  bell->Sleep(bell->Prepare(), SteadyClock().Now());
  bell->Sleep(bell->Prepare(), SteadyClock().Now() - std::chrono::hours(1));
  const std::atomic<uint32_t> word{7};
  CHECK(FutexWait(&word, 7, TimePoint{}) == ETIMEDOUT);
  CHECK(FutexWait(&word, 8, kNever) == EAGAIN);
}

TEST_CASE("a sleep lasts until its deadline when nobody rings", "[doorbell]") {
  const Deadline deadline("a deadline to come");
  const std::atomic<uint32_t> word{0};
  const TimePoint until = SteadyClock().Now() + std::chrono::microseconds(3'500);
  int answer = EINTR;
  while (answer == EINTR) answer = FutexWait(&word, 0, until);
  CHECK(answer == ETIMEDOUT);
  CHECK(SteadyClock().Now() >= until);
}

TEST_CASE("waking wakes every sleeper of a word", "[doorbell]") {
  const Deadline deadline("several sleepers");
  std::atomic<uint32_t> word{0};
  std::atomic<int> awake{0};
  std::thread sleepers[3];
  for (std::thread& sleeper : sleepers) {
    sleeper = std::thread([&] {
      while (word.load() == 0) FutexWait(&word, 0, kNever);
      ++awake;
    });
  }
  word.store(1);
  FutexWakeAll(&word);
  for (std::thread& sleeper : sleepers) sleeper.join();
  CHECK(awake == 3);
}

}  // namespace
}  // namespace rueda::transport
