// Callers that sleep in the engine thread's place: whatever is to happen in the meantime still
// does.
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <fstream>
#include <future>
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

using engine::Ticket;
using engine::TicketPtr;

// A thread that submits one call and waits for it, as a synchronous operation does.
class Caller {
 public:
  Caller(engine::Engine& engine, const std::string& name, Duration slice = Duration::zero())
      : values_(5, 1.0f), request_(RequestFor(name, 5)), thread_([this, &engine, slice] {
          id_ = static_cast<pid_t>(::syscall(SYS_gettid));
          const TensorView view{values_.data(), 5, DType::kFloat32};
          ticket_ = engine.Submit({request_, {{view}, {view}}, nullptr, true, true});
          if (ticket_.ok()) wake_ = engine.Wait(*ticket_, slice);
        }) {}
  ~Caller() { (void)Join(); }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  // False if it never does.
  bool WaitUntilAsleep() const {
    for (const TimePoint end = Patience(); SteadyClock().Now() < end;) {
      if (id_ != 0 && StateOf(id_) == 'S') return true;
      std::this_thread::yield();
    }
    return false;
  }
  // The status it came to.
  Status Join() {
    if (thread_.joinable()) thread_.join();
    return ticket_.ok() ? (*ticket_)->status() : ticket_.status();
  }
  Ticket::Wake wake() const { return wake_; }  // after Join, as the rest
  const TicketPtr& ticket() const { return *ticket_; }
  const std::vector<float>& values() const { return values_; }
  pthread_t handle() { return thread_.native_handle(); }

 private:
  static char StateOf(pid_t thread) {
    std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
    std::string text;
    std::getline(file, text);
    const size_t name_ends = text.rfind(')');
    return name_ends == std::string::npos ? '?' : text[name_ends + 2];
  }

  std::vector<float> values_;
  std::shared_ptr<control::Request> request_;
  std::atomic<pid_t> id_{0};
  Result<TicketPtr> ticket_ = Status(StatusCode::kSystem, "not submitted");
  Ticket::Wake wake_ = Ticket::Wake::kInterrupted;
  std::thread thread_;
};

Status Reduce(ThreadJob& job, int rank, const std::string& name) {
  std::vector<float> values(5, 1.0f);
  return ReduceInPlace(job.engine(rank), RequestFor(name, 5), &values);
}

// What nobody drives for: the engine, or a caller of another call, has to.
Status ReduceWithoutDriving(ThreadJob& job, int rank, const std::string& name) {
  std::vector<float> values(5, 1.0f);
  auto ticket = SubmitInPlace(job.engine(rank), RequestFor(name, 5), &values, /*urgent=*/false);
  if (!ticket.ok()) return ticket.status();
  (*ticket)->Wait();
  return (*ticket)->status();
}

TEST_CASE("a peer that comes late finds the callers who sleep", "[engine][caller]") {
  const int late = GENERATE(0, 1, 2);
  ThreadJob job(3);
  for (int round = 0; round < 20; ++round) {
    Caller one(job.engine((late + 1) % 3), "x"), other(job.engine((late + 2) % 3), "x");
    REQUIRE(one.WaitUntilAsleep());
    REQUIRE(other.WaitUntilAsleep());
    CHECK(Reduce(job, late, "x") == Status());
    CHECK(one.Join() == Status());
    CHECK(other.Join() == Status());
    CHECK(one.values() == std::vector<float>(5, 3.0f));
  }
}

TEST_CASE("a caller that sleeps does what other threads submit", "[engine][caller]") {
  const int sleeping = GENERATE(0, 1);
  const bool driving = GENERATE(false, true);
  ThreadJob job(2);
  for (int round = 0; round < 20; ++round) {
    Caller first(job.engine(sleeping), "first");
    REQUIRE(first.WaitUntilAsleep());
    auto second = std::async(std::launch::async, [&] {
      return driving ? Reduce(job, sleeping, "second")
                     : ReduceWithoutDriving(job, sleeping, "second");
    });
    CHECK(Reduce(job, 1 - sleeping, "second") == Status());
    CHECK(second.get() == Status());
    CHECK(Reduce(job, 1 - sleeping, "first") == Status());
    CHECK(first.Join() == Status());
  }
}

TEST_CASE("many callers of a rank sleep, and the first to be done leaves the rest to others",
          "[engine][caller]") {
  constexpr int kCallers = 5;
  const int sleeping = GENERATE(0, 1);
  ThreadJob job(2);
  std::mt19937 random(7);
  for (int round = 0; round < 10; ++round) {
    std::vector<std::unique_ptr<Caller>> callers;
    std::vector<int> order;
    for (int i = 0; i < kCallers; ++i) {
      callers.push_back(std::make_unique<Caller>(job.engine(sleeping), std::to_string(i)));
      order.push_back(i);
    }
    for (const auto& caller : callers) REQUIRE(caller->WaitUntilAsleep());
    std::shuffle(order.begin(), order.end(), random);
    for (const int i : order) {
      CHECK(Reduce(job, 1 - sleeping, std::to_string(i)) == Status());
      CHECK(callers[static_cast<size_t>(i)]->Join() == Status());
    }
  }
}

TEST_CASE("callers of all ranks sleep and wake in any order", "[engine][caller]") {
  constexpr int kThreads = 3, kCalls = 60;
  ThreadJob job(3);
  const auto wrong = job.ForEachRank([&](int rank) {
    std::atomic<int> sum{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        std::mt19937 random(static_cast<uint32_t>(10 * rank + thread));
        for (int i = 0; i < kCalls; ++i) {
          // Long enough, now and then, that the others sleep.
          for (uint32_t n = random() % 4 == 0 ? random() % 30'000 : 0; n > 0; --n) {
            transport::CpuPause();
          }
          const std::string name = std::to_string(thread);
          const bool drives = random() % 4 != 0;
          const Status status =
              drives ? Reduce(job, rank, name) : ReduceWithoutDriving(job, rank, name);
          sum += !status.ok();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return sum.load();
  });
  for (const int one : wrong) CHECK(one == 0);
}

TEST_CASE("a signal ends a caller's wait, and the engine goes on with the call",
          "[engine][caller]") {
  struct sigaction quiet = {}, before = {};
  quiet.sa_handler = [](int) {};
  REQUIRE(::sigaction(SIGUSR1, &quiet, &before) == 0);
  const int sleeping = GENERATE(0, 1);
  ThreadJob job(2);
  {
    Caller caller(job.engine(sleeping), "x", std::chrono::hours(1));
    REQUIRE(caller.WaitUntilAsleep());
    ::pthread_kill(caller.handle(), SIGUSR1);
    (void)caller.Join();
    CHECK(caller.wake() == Ticket::Wake::kInterrupted);
    REQUIRE_FALSE(caller.ticket()->done());
    CHECK(Reduce(job, 1 - sleeping, "x") == Status());
    CHECK(caller.ticket()->Wait() == Ticket::Wake::kDone);  // drives nothing
    CHECK(caller.values() == std::vector<float>(5, 2.0f));
  }
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("a caller that waited for its slice leaves the call to the engine", "[engine][caller]") {
  ThreadJob job(2);
  for (int round = 0; round < 10; ++round) {
    Caller caller(job.engine(round % 2), "x", std::chrono::milliseconds(1));
    (void)caller.Join();
    CHECK(caller.wake() == Ticket::Wake::kInterrupted);
    CHECK(Reduce(job, 1 - round % 2, "x") == Status());
    CHECK(caller.ticket()->Wait() == Ticket::Wake::kDone);
  }
}

TEST_CASE("a rank can be stopped while a caller sleeps", "[engine][caller]") {
  const int stopped = GENERATE(0, 1);
  const std::string reason = GENERATE("", "ValueError: bad batch");
  ThreadJob job(2);
  Caller own(job.engine(stopped), "own"), others(job.engine(1 - stopped), "others");
  REQUIRE(own.WaitUntilAsleep());
  REQUIRE(others.WaitUntilAsleep());
  job.engine(stopped).Stop(reason);
  CHECK(own.Join().code() == StatusCode::kShutDown);
  CHECK(others.Join().code() == StatusCode::kPeerLeft);
}

TEST_CASE("a peer's death ends the epoch that a caller sleeps in", "[engine][caller]") {
  ThreadJob job(3);
  Caller one(job.engine(0), "x"), other(job.engine(2), "x");
  REQUIRE(one.WaitUntilAsleep());
  REQUIRE(other.WaitUntilAsleep());
  job.TellOfDeath(1);
  for (const Status& status : {one.Join(), other.Join()}) {
    CHECK(status.code() == StatusCode::kPeerLost);
    CHECK(status.blamed_rank() == 1);
  }
}

TEST_CASE("a caller that sleeps meets the engine's deadlines", "[engine][caller]") {
  Config config;
  config.timeout_seconds = 0.05;
  ThreadJob job(2, config, [](int rank, engine::EngineParts& parts) {
    if (rank == 0) return;
    parts.backend = std::make_unique<SteppedBackend>(std::move(parts.backend), [] {
      return Result<backends::Progress>(backends::Progress::kWaiting);
    });
  });
  Caller one(job.engine(0), "x"), other(job.engine(1), "x");
  CHECK(one.Join().code() == StatusCode::kTimedOut);
  CHECK(other.Join().code() == StatusCode::kTimedOut);
}

TEST_CASE("what nobody waits for is done although a wait was expected", "[engine][caller]") {
  constexpr int kRounds = 5, kBursts = 12;
  const int size = GENERATE(1, 2, 3);
  ThreadJob job(size);
  const auto wrong = job.ForEachRank([&](int rank) {
    engine::Engine& engine = job.engine(rank);
    int sum = 0;
    for (int round = 0; round < kRounds; ++round) {
      std::vector<float> values(5, 1.0f);
      for (int i = 0; i < kBursts; ++i) {
        sum += !Finish(engine, SubmitInPlace(engine, RequestFor("waited", 5), &values, false)).ok();
      }
      values.assign(5, 1.0f);
      // The engine thread dozes after the calls; later it sleeps without a deadline.
      if (round % 2 == 1) Bell().WaitPast(0, SteadyClock().Now() + 4 * engine::Doze::kLongest);
      const auto ticket = SubmitInPlace(engine, RequestFor("left", 5), &values, false);
      if (!ticket.ok()) return sum + 1;
      const TimePoint patience = Patience();
      while (!(*ticket)->done() && SteadyClock().Now() < patience) std::this_thread::yield();
      sum += !(*ticket)->done() || values != std::vector<float>(5, static_cast<float>(size));
    }
    return sum;
  });
  for (const int one : wrong) CHECK(one == 0);
}

// I7.
TEST_CASE("a rank whose caller sleeps for long does nothing", "[engine][caller]") {
  const int sleeping = GENERATE(0, 1);
  ThreadJob job(2);
  job.ForEachRank([&](int rank) {
    int wrong = 0;
    for (int i = 0; i < 200; ++i) wrong += !Reduce(job, rank, "x").ok();
    return wrong;
  });
  Caller caller(job.engine(sleeping), "late");
  REQUIRE(caller.WaitUntilAsleep());
  Bell never;
  const auto switches_in = [&never](Duration time) {
    struct rusage before = {}, after = {};
    ::getrusage(RUSAGE_SELF, &before);
    never.WaitPast(0, SteadyClock().Now() + time);
    ::getrusage(RUSAGE_SELF, &after);
    return after.ru_nvcsw - before.ru_nvcsw;
  };
  switches_in(4 * engine::Doze::kLongest);
  CHECK(switches_in(16 * engine::Doze::kLongest) < 10);  // who dozes on looks around 16 times
  CHECK(Reduce(job, 1 - sleeping, "late") == Status());
  CHECK(caller.Join() == Status());
}

}  // namespace
}  // namespace rueda::testing
