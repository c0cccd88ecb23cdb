// SubmissionTable: names in flight, completion exactly once (I3), from submitters' and engine's
// side.
#include "engine/submission_table.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "deadline.h"
#include "status_text.h"
#include "transport/parker.h"

namespace rueda::engine {
namespace {

Submission Named(const std::string& name, std::shared_ptr<const void> keep_alive = nullptr,
                 bool urgent = false) {
  auto request = std::make_shared<control::Request>();
  request->name = name;
  return {request, {}, std::move(keep_alive), urgent};
}

std::vector<std::string> TakeNames(SubmissionTable& table) {
  std::vector<Work*> taken;
  table.TakeNew(&taken, SubmissionTable::AndThen::kSleeps);
  std::vector<std::string> names;
  for (const Work* work : taken) names.push_back(work->submission.request->name);
  return names;
}

const Status kWhy(StatusCode::kPeerLost, "rank 1 died");

TEST_CASE("submissions are taken once, in their order", "[submission_table]") {
  SubmissionTable table;
  CHECK_FALSE(table.has_new());
  REQUIRE(table.Add(Named("a")).ok());
  REQUIRE(table.Add(Named("b")).ok());
  CHECK(table.has_new());
  CHECK(TakeNames(table) == std::vector<std::string>{"a", "b"});
  CHECK_FALSE(table.has_new());
  CHECK(TakeNames(table).empty());
}

TEST_CASE("a name is taken until its work is complete", "[submission_table]") {
  SubmissionTable table;
  const TicketPtr first = table.Add(Named("a")).value();
  const Status twice = table.Add(Named("a")).status();
  CHECK(twice.code() == StatusCode::kDuplicateName);
  CHECK_THAT(twice.message(), Catch::Contains("'a'"));
  TakeNames(table);
  CHECK(table.Add(Named("a")).status().code() == StatusCode::kDuplicateName);
  table.Complete(table.Find({0, "a"}), kWhy);
  CHECK(first->status() == kWhy);
  CHECK(table.Find({0, "a"}) == nullptr);
  CHECK(table.Add(Named("a")).ok());
}

TEST_CASE("haste is wished for by the urgent and the waiting, and served once",
          "[submission_table]") {
  SubmissionTable table;
  REQUIRE(table.Add(Named("a")).ok());
  CHECK_FALSE(table.wants_haste());
  REQUIRE(table.Add(Named("b", nullptr, true)).ok());
  CHECK(table.wants_haste());
  table.CalmDown();
  CHECK_FALSE(table.wants_haste());
  table.Hurry();
  CHECK(table.wants_haste());
}

// Counts how often the engine is woken.
class CountingParker final : public transport::Parker {
 public:
  uint32_t Prepare() override { return 0; }
  void Park(uint32_t /*seen*/, TimePoint /*deadline*/) override {}
  void Unpark() override { ++unparked; }
  void UnparkUnlessItLooks() override { ++left_to_itself; }

  int unparked = 0;
  int left_to_itself = 0;
};

TEST_CASE("the engine is woken once for what it has not taken, and not where it comes back",
          "[submission_table]") {
  CountingParker engine;
  SubmissionTable table({}, &engine);
  std::vector<Work*> taken;
  REQUIRE(table.Add(Named("a")).ok());
  REQUIRE(table.Add(Named("b")).ok());
  CHECK(engine.unparked == 1);
  table.TakeNew(&taken, SubmissionTable::AndThen::kComesBack);
  REQUIRE(table.Add(Named("c")).ok());
  CHECK(engine.unparked == 1);
  table.TakeNew(&taken, SubmissionTable::AndThen::kSleeps);
  REQUIRE(table.Add(Named("d")).ok());
  CHECK(engine.unparked == 2);
  CHECK(taken.size() == 3);
}

TEST_CASE("who is in haste wakes an engine that comes back later, once", "[submission_table]") {
  CountingParker engine;
  SubmissionTable table({}, &engine);
  std::vector<Work*> taken;
  table.TakeNew(&taken, SubmissionTable::AndThen::kComesBack);
  REQUIRE(table.Add(Named("a", nullptr, true)).ok());
  CHECK(engine.unparked == 1);
  REQUIRE(table.Add(Named("b", nullptr, true)).ok());
  CHECK(engine.unparked == 1);  // it knows
  table.CalmDown();
  REQUIRE(table.Add(Named("c", nullptr, true)).ok());
  CHECK(engine.unparked == 2);
}

TEST_CASE("who drives next wakes nobody", "[submission_table]") {
  CountingParker engine;
  SubmissionTable table({}, &engine);
  Submission submission = Named("a", nullptr, true);
  submission.driven = true;
  REQUIRE(table.Add(std::move(submission)).ok());
  CHECK(engine.unparked == 0);
  CHECK(table.wants_haste());
  CHECK(table.has_new());
}

TEST_CASE("while somebody is expected to wait an engine that looks by itself may sleep on",
          "[submission_table]") {
  CountingParker engine;
  ManualClock clock;
  SubmissionTable table({}, &engine, &clock);
  const auto burst = [&](Duration until_the_wait, bool urgent = false) {
    for (const char* name : {"a", "b"}) REQUIRE(table.Add(Named(name, nullptr, urgent)).ok());
    clock.Advance(until_the_wait);
    table.Waits();
    table.CalmDown();
    CHECK(TakeNames(table).size() == 2);
    table.CompleteAll(kWhy);
  };
  const Duration soon = std::chrono::microseconds(3), late = std::chrono::milliseconds(3);
  for (uint32_t i = 0; i < Foresight::kEnough; ++i) burst(soon);
  CHECK(engine.unparked == Foresight::kEnough);
  for (int i = 0; i < 10; ++i) burst(soon);
  CHECK(engine.unparked == Foresight::kEnough);
  CHECK(engine.left_to_itself == 10);
  // Who is in haste, as a full bucket of gradients is, wakes it all the same and counts for
  // nothing.
  for (int i = 0; i < 3; ++i) burst(late, /*urgent=*/true);
  CHECK(engine.unparked == Foresight::kEnough + 3);
  burst(late);
  CHECK(engine.left_to_itself == 11);
  burst(soon);
  CHECK(engine.unparked == Foresight::kEnough + 4);
  CHECK(engine.left_to_itself == 11);
}

TEST_CASE("works that end together are all done before a waiter wakes", "[submission_table]") {
  const testing::Deadline deadline("several works");
  SubmissionTable table;
  for (int round = 0; round < 200; ++round) {
    std::vector<TicketPtr> tickets;
    for (int i = 0; i < 5; ++i) tickets.push_back(table.Add(Named(std::to_string(i))).value());
    std::vector<Work*> works;
    table.TakeNew(&works, SubmissionTable::AndThen::kSleeps);
    works[3]->failure = kWhy;
    int undone = 0;
    std::atomic<bool> asleep{false};
    std::thread waiter([&] {
      // A wait that was interrupted has slept: what follows sleeps at once, too.
      while (tickets[0]->Wait(std::chrono::microseconds(50)) != Ticket::Wake::kDone) asleep = true;
      for (const TicketPtr& ticket : tickets) undone += !ticket->done();
    });
    while (!asleep) std::this_thread::yield();
    table.Complete(works);
    waiter.join();
    for (int i = 0; i < 5; ++i)
      CHECK(tickets[static_cast<size_t>(i)]->status() == (i == 3 ? kWhy : Status()));
    CHECK(table.SomeInFlight(1).count == 0);
  }
}

TEST_CASE("a work lives as long as its ticket, what it keeps alive does not",
          "[submission_table]") {
  SubmissionTable table;
  auto memory = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = memory;
  Submission submission = Named("a", std::move(memory));
  const std::weak_ptr<const control::Request> request = submission.request;
  TicketPtr ticket = table.Add(std::move(submission)).value();
  table.Complete(table.Find({0, "a"}), Status());
  CHECK(watched.expired());
  CHECK_FALSE(request.expired());
  ticket.reset();
  CHECK(request.expired());
}

TEST_CASE("what a submission keeps alive is dropped, and its name free, before it is done",
          "[submission_table]") {
  const testing::Deadline deadline("the order of completion");
  SubmissionTable table;
  const auto how = GENERATE(0, 1, 2);
  auto memory = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = memory;
  const TicketPtr ticket = table.Add(Named("a", std::move(memory))).value();
  bool alive = true, name_free = false;
  std::thread waiter([&] {
    ticket->Wait();
    alive = !watched.expired();
    name_free = table.Find({0, "a"}) == nullptr;
  });
  if (how == 0) table.Complete(table.Find({0, "a"}), Status());
  if (how == 1) table.CompleteAll(kWhy);
  if (how == 2) table.CompleteUnagreed(kWhy);
  waiter.join();
  CHECK_FALSE(alive);
  CHECK(name_free);
}

TEST_CASE("a closed table takes nothing and says why, the first reason", "[submission_table]") {
  SubmissionTable table;
  table.Close(kWhy);
  table.Close({StatusCode::kShutDown, "later"});
  CHECK(table.Add(Named("a")).status() == kWhy);
}

TEST_CASE("what no frame has named is completed, the rest runs on", "[submission_table]") {
  SubmissionTable table;
  const TicketPtr agreed = table.Add(Named("agreed")).value();
  const TicketPtr offered = table.Add(Named("offered")).value();
  TakeNames(table);
  table.Find({0, "agreed"})->agreed = true;
  const TicketPtr fresh = table.Add(Named("new")).value();
  table.CompleteUnagreed(kWhy);
  CHECK_FALSE(agreed->done());
  // In the words of the reason, and each names what it ended.
  for (const auto& [ticket, name] : {std::pair(offered, "'offered'"), std::pair(fresh, "'new'")}) {
    CHECK(ticket->status().code() == kWhy.code());
    CHECK_THAT(ticket->status().message(),
               Catch::StartsWith(kWhy.message()) && Catch::Contains(name));
  }
  CHECK(TakeNames(table).empty());
  table.CompleteAll({StatusCode::kShutDown, "over"});
  CHECK(agreed->status().code() == StatusCode::kShutDown);
  table.CompleteAll(kWhy);  // nothing is left that could complete twice
  CHECK(agreed->status().code() == StatusCode::kShutDown);
}

TEST_CASE("threads submit while the engine completes", "[submission_table]") {
  const testing::Deadline deadline("submitters");
  constexpr int kThreads = 3, kEach = 500;
  SubmissionTable table;
  std::atomic<int> done{0};
  std::vector<std::thread> submitters;
  for (int thread = 0; thread < kThreads; ++thread) {
    submitters.emplace_back([&, thread] {
      for (int i = 0; i < kEach; ++i) {
        const auto ticket = table.Add(Named(std::to_string(thread) + "." + std::to_string(i % 3)));
        if (!ticket.ok()) continue;
        if (i % 3 == 2) (*ticket)->Wait();
        done += 1;
      }
    });
  }
  std::atomic<bool> over{false};
  int completed = 0;
  std::thread engine([&] {
    std::vector<Work*> taken;
    while (!over.load() || table.has_new()) {
      taken.clear();
      table.TakeNew(&taken, SubmissionTable::AndThen::kSleeps);
      for (Work* work : taken) table.Complete(work, Status());
      completed += static_cast<int>(taken.size());
      if (taken.empty()) std::this_thread::yield();
    }
  });
  for (std::thread& submitter : submitters) submitter.join();
  over = true;
  engine.join();
  CHECK(completed == done);
  CHECK(done > 0);
}

}  // namespace
}  // namespace rueda::engine
