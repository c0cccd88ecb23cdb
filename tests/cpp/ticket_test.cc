// Ticket: completes once, wakes every waiter, and lets a waiter look up for signals.
#include "engine/ticket.h"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "channel_streams.h"
#include "deadline.h"
#include "status_text.h"

namespace rueda::engine {
namespace {

using testing::Deadline;
using testing::Patience;
using Wake = Ticket::Wake;

TEST_CASE("a ticket is done once it is completed, with what it was given", "[ticket]") {
  Ticket ticket;
  CHECK_FALSE(ticket.done());
  const Status why = Status(StatusCode::kPeerLost, "gone").Blame(1);
  std::vector<OwnedResult> results(2);
  results[1].bytes = 12;
  ticket.Complete(why, std::move(results));
  CHECK(ticket.done());
  CHECK(ticket.status() == why);
  CHECK(ticket.results().at(1).bytes == 12);
  CHECK(ticket.Wait() == Wake::kDone);
  CHECK(ticket.Wait(std::chrono::nanoseconds(1)) == Wake::kDone);
}

TEST_CASE("a slice ends a wait for a ticket that is not done", "[ticket]") {
  const Deadline deadline("a slice");
  Ticket ticket;
  const TimePoint start = SteadyClock().Now();
  CHECK(ticket.Wait(std::chrono::milliseconds(5)) == Wake::kInterrupted);
  CHECK(SteadyClock().Now() - start >= std::chrono::milliseconds(5));
  CHECK(ticket.Wait(std::chrono::nanoseconds(1)) == Wake::kInterrupted);
  ticket.Complete(Status());
  CHECK(ticket.Wait(std::chrono::milliseconds(5)) == Wake::kDone);
}

TEST_CASE("every waiter of a ticket wakes and sees the result", "[ticket]") {
  const Deadline deadline("waiters");
  for (int round = 0; round < 200; ++round) {
    const auto ticket = std::make_shared<Ticket>();
    std::atomic<int> right{0};
    std::vector<std::thread> waiters;
    for (int i = 0; i < 3; ++i) {
      waiters.emplace_back([&, i] {
        // Some sleep without end, some look up now and then.
        const Duration slice = i == 0 ? Duration::zero() : std::chrono::microseconds(50);
        while (ticket->Wait(slice) != Wake::kDone) {
        }
        right += ticket->status().message() == "it is over";
      });
    }
    std::thread completer([&] { ticket->Complete({StatusCode::kShutDown, "it is over"}); });
    completer.join();
    for (std::thread& waiter : waiters) waiter.join();
    REQUIRE(right == 3);
  }
}

TEST_CASE("a signal ends a sliced wait long before its slice", "[ticket]") {
  const Deadline deadline("a signal");
  struct sigaction quiet {
  }, before{};
  quiet.sa_handler = [](int) {};
  REQUIRE(::sigaction(SIGUSR1, &quiet, &before) == 0);
  Ticket ticket;
  std::atomic<bool> ended{false};
  Wake how = Wake::kDone;
  std::thread waiter([&] {
    how = ticket.Wait(std::chrono::hours(1));
    ended = true;
  });
  for (const Patience patience; !ended && !patience.over();) {
    ::pthread_kill(waiter.native_handle(), SIGUSR1);
    std::this_thread::yield();
  }
  CHECK(ended);
  if (!ended) ticket.Complete(Status());
  waiter.join();
  CHECK(how == Wake::kInterrupted);
  REQUIRE(::sigaction(SIGUSR1, &before, nullptr) == 0);
}

TEST_CASE("a signal does not end a wait without a slice", "[ticket]") {
  const Deadline deadline("signals without a slice");
  struct sigaction quiet {
  }, before{};
  quiet.sa_handler = [](int) {};
  REQUIRE(::sigaction(SIGUSR1, &quiet, &before) == 0);
  Ticket ticket;
  bool was_done = false;
  std::thread waiter([&] {
    ticket.Wait();
    was_done = ticket.done();
  });
  for (int i = 0; i < 2'000; ++i) {
    ::pthread_kill(waiter.native_handle(), SIGUSR1);
    std::this_thread::yield();
  }
  ticket.Complete(Status());
  waiter.join();
  CHECK(was_done);
  REQUIRE(::sigaction(SIGUSR1, &before, nullptr) == 0);
}

}  // namespace
}  // namespace rueda::engine
