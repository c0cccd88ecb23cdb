// The orderly end of an epoch: what is in flight, what is left behind (I5), and what idles (I7).
#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine_fakes.h"
#include "status_text.h"
#include "thread_job.h"

namespace rueda::testing {
namespace {

size_t EntriesOf(const char* folder) {
  size_t entries = 0;
  DIR* const open = ::opendir(folder);
  while (::readdir(open) != nullptr) ++entries;
  ::closedir(open);
  return entries;
}

// Mappings of arenas, which others could write.
size_t ArenaMappingsHere() {
  std::ifstream maps("/proc/self/maps");
  size_t mappings = 0;
  for (std::string line; std::getline(maps, line);) {
    mappings += line.find("rueda-arena") != std::string::npos;
  }
  return mappings;
}

TEST_CASE("starting and stopping leaves nothing behind", "[engine][stop]") {
  const Deadline deadline("fifty jobs");
  const auto run_one = [](int64_t count) {
    ThreadJob job(2);
    const auto statuses = job.ForEachRank([&](int rank) {
      std::vector<float> values(static_cast<size_t>(count));
      return ReduceInPlace(job.engine(rank), RequestFor("x", count), &values);
    });
    return std::count(statuses.begin(), statuses.end(), Status());
  };
  REQUIRE(run_one(10) == 2);
  const size_t threads = EntriesOf("/proc/self/task");
  const size_t descriptors = EntriesOf("/proc/self/fd");
  for (int i = 0; i < 50; ++i) REQUIRE(run_one(i * 1'000) == 2);
  CHECK(EntriesOf("/proc/self/task") == threads);
  CHECK(EntriesOf("/proc/self/fd") == descriptors);
  CHECK(ArenaMappingsHere() == 0);
}

TEST_CASE("memory that outlives its job is nobody else's", "[engine][stop]") {
  std::vector<std::shared_ptr<transport::ArenaBuffer>> kept;
  {
    ThreadJob job(2);
    for (int rank = 0; rank < 2; ++rank) {
      kept.push_back(job.engine(rank).Allocate(100'000).value());
      std::fill_n(kept.back()->data(), 100'000, static_cast<uint8_t>(rank + 1));
    }
    CHECK(ArenaMappingsHere() > 0);
    job.StopAll();
    CHECK(ArenaMappingsHere() == 0);
  }
  CHECK(kept[0]->data()[99'999] == 1);
  CHECK(kept[1]->data()[99'999] == 2);
}

TEST_CASE("work in flight ends with the stop, and tells the others who left", "[engine][stop]") {
  const int leaver = GENERATE(0, 1);
  const bool urgent = GENERATE(false, true);  // offered already, or still waiting for company
  CAPTURE(leaver, urgent);
  Config config;
  config.linger_us = 1'000'000;
  ThreadJob job(2, config);
  std::vector<float> mine(4), theirs(4);
  const auto ticket = SubmitInPlace(job.engine(leaver), RequestFor("x", 4), &mine, urgent);
  const auto other = SubmitInPlace(job.engine(1 - leaver), RequestFor("y", 4), &theirs, urgent);
  job.engine(leaver).Stop();
  REQUIRE((*ticket)->done());
  CHECK((*ticket)->status().code() == StatusCode::kShutDown);
  const Status left = Finish(job.engine(1 - leaver), other);
  CHECK(left.code() == StatusCode::kPeerLeft);
  CHECK(left.blamed_rank() == leaver);
  CHECK(job.engine(leaver).first_error() == Status());
  CHECK(job.engine(1 - leaver).first_error() == Status());
}

TEST_CASE("stopping in the middle of asynchronous work completes every ticket", "[engine][stop]") {
  const uint32_t seed = GENERATE(range(1u, 16u));
  CAPTURE(seed);
  constexpr int kSize = 3, kTensors = 12;
  ThreadJob job(kSize);
  const auto problems = job.ForEachRank([&](int rank) -> std::string {
    std::mt19937 random(seed * 10 + static_cast<uint32_t>(rank));
    engine::Engine& engine = job.engine(rank);
    std::vector<std::vector<float>> values;
    for (int i = 0; i < kTensors; ++i) values.emplace_back(i % 4 == 0 ? 50'000 : 7, 1.0f);
    std::vector<engine::TicketPtr> tickets;
    const size_t stop_at = random() % (kTensors + 1);
    for (size_t i = 0; i < kTensors; ++i) {
      const auto count = static_cast<int64_t>(values[i].size());
      auto ticket = SubmitInPlace(engine, RequestFor("t" + std::to_string(i), count), &values[i],
                                  random() % 2 == 0);
      if (!ticket.ok()) return ticket.status().message();
      tickets.push_back(*ticket);
      if (i == stop_at) break;
    }
    engine.Stop();
    for (size_t i = 0; i < tickets.size(); ++i) {
      if (!tickets[i]->done()) return "a ticket is not done";
      const Status& status = tickets[i]->status();
      const bool over =
          status.code() == StatusCode::kShutDown || status.code() == StatusCode::kPeerLeft;
      if (!status.ok() && !over) return status.message();
      const float expected = status.ok() ? kSize : values[i][0];
      if (std::count(values[i].begin(), values[i].end(), expected) !=
          static_cast<std::ptrdiff_t>(values[i].size())) {
        return "a wrong sum";
      }
    }
    return engine.first_error().message();
  });
  for (const std::string& problem : problems) CHECK(problem == "");
}

TEST_CASE("threads may submit while another stops the engine", "[engine][stop]") {
  ThreadJob job(2);
  std::atomic<bool> stopped{false};
  std::atomic<int> unexpected{0}, submitted{0};
  std::vector<std::thread> submitters;
  for (int thread = 0; thread < 4; ++thread) {
    submitters.emplace_back([&, thread] {
      engine::Engine& engine = job.engine(thread % 2);
      for (int i = 0; !stopped.load() || i < 10; ++i) {
        std::vector<float> values(3, 1.0f);
        const auto request =
            RequestFor("s" + std::to_string(thread / 2) + "." + std::to_string(i), 3);
        request->transient = true;
        const Status status = ReduceInPlace(engine, request, &values);
        ++submitted;
        if (status.ok() && values[0] == 2.0f) continue;
        if (status.code() == StatusCode::kShutDown || status.code() == StatusCode::kPeerLeft)
          continue;
        ++unexpected;
      }
    });
  }
  while (submitted.load() < 40) std::this_thread::yield();
  job.engine(1).Stop();
  job.engine(0).Stop();
  stopped = true;
  for (std::thread& submitter : submitters) submitter.join();
  CHECK(unexpected == 0);
}

TEST_CASE("any number of threads may stop an engine, any number of times", "[engine][stop]") {
  ThreadJob job(1);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([&] { job.engine(0).Stop("once"); });
  for (std::thread& thread : threads) thread.join();
  job.engine(0).Stop();
  std::vector<float> values(1);
  CHECK(ReduceInPlace(job.engine(0), RequestFor("x", 1), &values).code() == StatusCode::kShutDown);
}

TEST_CASE("a reason of any length reaches the others", "[engine][stop]") {
  const int leaver = GENERATE(0, 1);
  CAPTURE(leaver);
  ThreadJob job(2);
  std::vector<float> values(4);
  const auto ticket = SubmitInPlace(job.engine(1 - leaver), RequestFor("x", 4), &values);
  job.engine(leaver).Stop("ValueError: " + std::string(300'000, 'v'));
  const Status left = Finish(job.engine(1 - leaver), ticket);
  CHECK(left.code() == StatusCode::kPeerLeft);
  CHECK_THAT(left.message(), Catch::Contains("ValueError: vvvv"));
  CHECK(job.engine(1 - leaver).first_error() == Status());
}

// What the engine threads of a job do in 30 ms: how often they go to sleep and look around.
struct Activity {
  CountingParker::Count parks = std::make_shared<std::atomic<int>>(0);
  CountingMembership::Count rounds = std::make_shared<std::atomic<int>>(0);

  ThreadJob::Adjust Watching() const {
    return [this](int, engine::EngineParts& parts) {
      parts.parker = std::make_unique<CountingParker>(std::move(parts.parker), parks);
      parts.membership = std::make_unique<CountingMembership>(std::move(parts.membership), rounds);
    };
  }
  // An engine that spins looks around a hundred thousand times.
  void CheckQuiet() const {
    Bell never;
    never.WaitPast(0, SteadyClock().Now() + std::chrono::milliseconds(10));
    const int before_parks = *parks, before_rounds = *rounds;
    never.WaitPast(0, SteadyClock().Now() + std::chrono::milliseconds(30));
    CHECK(*parks - before_parks < 10);
    CHECK(*rounds - before_rounds < 2'000);
  }
};

TEST_CASE("engines with nothing to do sleep", "[engine][stop]") {
  Config config;
  config.linger_us = 100;
  const Activity activity;
  ThreadJob job(3, config, activity.Watching());
  SECTION("after a start") {}
  SECTION("after work") {
    job.ForEachRank([&](int rank) { return WaitAtBarrier(job.engine(rank), "b"); });
  }
  std::vector<float> values(4);
  SECTION("while a rank waits for others") {
    const auto waiting = SubmitInPlace(job.engine(1), RequestFor("x", 4), &values);
    activity.CheckQuiet();
  }
  SECTION("after a rank left") { job.engine(GENERATE(0, 1, 2)).Stop(); }
  SECTION("after rank 0 left with offers that wait for company") {
    config.linger_us = 1'000;
    const auto waiting = SubmitInPlace(job.engine(1), RequestFor("x", 4), &values, false);
    job.engine(0).Stop();
    CHECK(Finish(job.engine(1), waiting).code() == StatusCode::kPeerLeft);
  }
  activity.CheckQuiet();
}

TEST_CASE("an engine that leaves in the middle of a bucket sleeps until it is over",
          "[engine][stop]") {
  const Activity activity;
  Gate gate;
  ThreadJob job(2, {}, [&](int rank, engine::EngineParts& parts) {
    if (rank == 1) parts.backend = StopsAt(&gate, 2, std::move(parts.backend));
    if (rank == 0) activity.Watching()(rank, parts);
  });
  const OpensAtTheEnd opens(&gate);
  std::vector<std::vector<float>> values(2, std::vector<float>(3'000'000));
  std::vector<Result<engine::TicketPtr>> tickets;
  for (size_t rank = 0; rank < 2; ++rank) {
    tickets.push_back(SubmitInPlace(job.engine(static_cast<int>(rank)), RequestFor("x", 3'000'000),
                                    &values[rank]));
  }
  REQUIRE(gate.WaitForArrival());
  std::thread leaving([&] { job.engine(0).Stop(); });
  activity.CheckQuiet();
  job.TellOfDeath(1);
  leaving.join();
  CHECK((*tickets[0])->status().blamed_rank() == 1);
}

}  // namespace
}  // namespace rueda::testing
