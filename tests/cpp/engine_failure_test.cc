// The end of an epoch by an error: deaths, hangs, late ranks. Every survivor learns the same cause.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "engine_fakes.h"
#include "status_text.h"
#include "thread_job.h"

namespace rueda::testing {
namespace {

constexpr int kSize = 3;
constexpr int64_t kLarge = 4'000'000;  // elements: many units of any scheme

ThreadJob::Adjust StopRankAt(int stopped, Gate* gate, int free_steps) {
  return [=](int rank, engine::EngineParts& parts) {
    if (rank == stopped) parts.backend = StopsAt(gate, free_steps, std::move(parts.backend));
  };
}

// Text that names what it ended may follow the cause.
void CheckSameCause(const Status& status, const Status& cause) {
  CHECK(status.code() == cause.code());
  CHECK(status.blamed_rank() == cause.blamed_rank());
  CHECK_THAT(status.message(), Catch::StartsWith(cause.message()));
}

// After the end nothing can be submitted, and the answer is the cause.
void CheckOver(ThreadJob& job, int rank, const Status& cause) {
  CAPTURE(rank);
  CHECK(job.engine(rank).first_error() == cause);
  std::vector<float> values(1);
  CheckSameCause(ReduceInPlace(job.engine(rank), RequestFor("after", 1), &values), cause);
}

Status DeathOf(int rank) {
  return Status(StatusCode::kPeerLost, RankName(rank) + " died").Blame(rank);
}

TEST_CASE("a death in the middle of a bucket is the survivors' error", "[engine][failure]") {
  const int victim = GENERATE(0, 1, 2);
  const bool placed = GENERATE(false, true);
  const int free_steps = GENERATE(0, 1, 4, 20);
  if (placed && free_steps > 4) return;  // it would be over
  CAPTURE(victim, free_steps, placed);
  Gate gate;
  ThreadJob job(kSize, {}, StopRankAt(victim, &gate, free_steps));
  const OpensAtTheEnd opens(&gate);
  const std::vector<Status> statuses = job.ForEachRank([&](int rank) {
    engine::Engine& engine = job.engine(rank);
    auto request = RequestFor("large", kLarge);
    const auto buffer = engine.Allocate(kLarge * 4).value();
    if (placed) request->placement = buffer->offset();
    const TensorView view{buffer->data(), kLarge, DType::kFloat32};
    const auto ticket = engine.Submit({request, {{view}, {view}}, buffer, true});
    if (rank != victim) return Finish(engine, ticket);
    if (!gate.WaitForArrival()) return Status(StatusCode::kTimedOut, "it never got there");
    job.TellOfDeath(victim);
    return Status();
  });
  REQUIRE(statuses[static_cast<size_t>(victim)] == Status());
  Status cause;
  for (int rank = 0; rank < kSize; ++rank) {
    if (rank == victim) continue;
    if (cause.ok()) cause = job.engine(rank).first_error();
    CheckSameCause(statuses[static_cast<size_t>(rank)], cause);
    CheckOver(job, rank, cause);
  }
  CheckSameCause(cause, DeathOf(victim));
}

TEST_CASE("a death fails everything in flight, each ticket once", "[engine][failure]") {
  const int victim = GENERATE(0, 1);
  CAPTURE(victim);
  constexpr int kTickets = 50;
  Gate gate;
  ThreadJob job(kSize, {}, StopRankAt(victim, &gate, 3));
  const OpensAtTheEnd opens(&gate);
  const auto wrong = job.ForEachRank([&](int rank) {
    engine::Engine& engine = job.engine(rank);
    std::vector<std::vector<float>> values;
    for (int i = 0; i < kTickets; ++i) values.emplace_back(i == 0 ? 300'000 : i);
    std::vector<engine::TicketPtr> tickets;
    for (int i = 0; i < kTickets; ++i) {
      auto& own = values[static_cast<size_t>(i)];
      // Some are offered by all, some by a few ranks, the last ones by one.
      if (i % 3 == 2 && rank == 1) continue;
      auto request = RequestFor("t" + std::to_string(i), static_cast<int64_t>(own.size()));
      auto ticket = SubmitInPlace(engine, request, &own, i == 0);
      if (ticket.ok()) tickets.push_back(*ticket);
    }
    if (rank == victim) {
      const bool arrived = gate.WaitForArrival();
      job.TellOfDeath(victim);
      gate.Open();
      if (!arrived) return -1;
    }
    int unexpected = 0;
    for (const engine::TicketPtr& ticket : tickets) {
      engine.Wait(ticket);
      const Status& status = ticket->status();
      unexpected += !status.ok() && status.code() != StatusCode::kPeerLost;
    }
    return unexpected;
  });
  for (const int unexpected : wrong) CHECK(unexpected == 0);
}

TEST_CASE("an idle job learns of a death, too", "[engine][failure]") {
  ThreadJob job(kSize);
  job.TellOfDeath(2);
  std::vector<float> values(1);
  for (const int rank : {0, 1}) {
    CheckSameCause(ReduceInPlace(job.engine(rank), RequestFor("x", 1), &values), DeathOf(2));
  }
}

TEST_CASE("deaths at random moments of a busy job", "[engine][failure]") {
  const uint32_t seed = GENERATE(range(1u, 13u));
  CAPTURE(seed);
  const int victim = static_cast<int>(seed % kSize);
  ThreadJob job(kSize);
  const std::vector<Status> statuses = job.ForEachRank([&](int rank) {
    std::mt19937 random(seed);
    const auto last = static_cast<uint32_t>(random() % 60);
    Status status;
    for (uint32_t round = 0; status.ok(); ++round) {
      const int64_t count = random() % 2 == 0 ? 100 : 60'000;
      std::vector<float> values(static_cast<size_t>(count), 1.0f);
      if (rank == victim && round == last) job.TellOfDeath(victim);
      const std::string name = "x" + std::to_string(round % 5) + "." + std::to_string(count);
      status = ReduceInPlace(job.engine(rank), RequestFor(name, count), &values);
      const bool right =
          std::all_of(values.begin(), values.end(), [](float v) { return v == kSize; });
      if (status.ok() && !right) return Status(StatusCode::kCorrupt, "a wrong sum");
    }
    return status;
  });
  // The victim is alive to hear it, too.
  for (const Status& status : statuses) CheckSameCause(status, DeathOf(victim));
}

TEST_CASE("a rank that hangs in a bucket is named when its time is over", "[engine][failure]") {
  const int victim = GENERATE(0, 1);
  CAPTURE(victim);
  Config config;
  config.timeout_seconds = 0.2;
  Gate gate;
  ThreadJob job(2, config, StopRankAt(victim, &gate, 1));
  const OpensAtTheEnd opens(&gate);
  const int survivor = 1 - victim;
  std::vector<float> late(100'000), values(100'000);
  const auto pending = SubmitInPlace(job.engine(victim), RequestFor("w", 100'000), &late);
  const Status status = ReduceInPlace(job.engine(survivor), RequestFor("w", 100'000), &values);
  CHECK(status.code() == StatusCode::kTimedOut);
  CHECK(status.blamed_rank() == victim);
  CHECK_THAT(status.message(), Catch::Contains("allreduce 'w'") && Catch::Contains("0.2 s") &&
                                   Catch::Contains("rank " + std::to_string(victim) + " (pid"));
  CheckOver(job, survivor, job.engine(survivor).first_error());
  // It may still write at any time, so the survivor's memory was severed before its ticket was
  // done.
  CHECK(job.engine(survivor).Allocate(1).status().code() == StatusCode::kShutDown);
  // When it goes on it learns that the job is over.
  gate.Open();
  CheckSameCause(Finish(job.engine(victim), pending), job.engine(survivor).first_error());
}

TEST_CASE("a backend's error on one rank is everybody's", "[engine][failure]") {
  const int faulty = GENERATE(0, 1, 2);
  CAPTURE(faulty);
  const Status fault = Status(StatusCode::kSystem, "no memory on rank " + std::to_string(faulty));
  ThreadJob job(kSize, {}, [&](int rank, engine::EngineParts& parts) {
    if (rank != faulty) return;
    parts.backend = std::make_unique<SteppedBackend>(
        std::move(parts.backend), [fault]() -> Result<backends::Progress> { return fault; });
  });
  const auto statuses = job.ForEachRank([&](int rank) {
    std::vector<float> values(200'000);
    return ReduceInPlace(job.engine(rank), RequestFor("x", 200'000), &values);
  });
  for (int rank = 0; rank < kSize; ++rank) {
    CheckSameCause(statuses[static_cast<size_t>(rank)], fault);
    CheckOver(job, rank, fault);
  }
}

TEST_CASE("a tensor that a rank withholds is reported, and goes on when it comes",
          "[engine][failure]") {
  Config config;
  config.stall_check_time_seconds = 0.02;
  Bell reported;
  std::mutex mutex;
  std::vector<std::string> lines;
  ThreadJob job(kSize, config, [&](int, engine::EngineParts& parts) {
    parts.log = [&](LogLevel level, const std::string& line) {
      {
        const std::lock_guard lock(mutex);
        lines.push_back(std::string(NameOf(level)) + ": " + line);
      }
      reported.Ring();
    };
  });
  std::vector<std::vector<float>> values(kSize, std::vector<float>(4, 1.0f));
  const auto first = SubmitInPlace(job.engine(0), RequestFor("w", 4), &values[0]);
  const auto second = SubmitInPlace(job.engine(2), RequestFor("w", 4), &values[2]);
  REQUIRE(reported.WaitPast(0, Patience()));
  CHECK_FALSE((*first)->done());
  CHECK(ReduceInPlace(job.engine(1), RequestFor("w", 4), &values[1]) == Status());
  CHECK(Finish(job.engine(0), first) == Status());
  CHECK(Finish(job.engine(2), second) == Status());
  job.StopAll();
  REQUIRE(lines.size() >= 2);  // on a slow machine it may be said again
  CHECK_THAT(lines[0], Catch::StartsWith("warning: stalled for ") &&
                           Catch::Contains("allreduce 'w'") && Catch::Contains(RankName(1)) &&
                           !Catch::Contains("rank 2"));
  CHECK_THAT(lines.back(), Catch::StartsWith("warning: resumed after "));
}

TEST_CASE("a tensor that is withheld past the limit ends the job", "[engine][failure]") {
  const int withholding = GENERATE(0, 1);
  CAPTURE(withholding);
  Config config;
  config.stall_shutdown_time_seconds = 0.03;
  ThreadJob job(kSize, config);
  const auto statuses = job.ForEachRank([&](int rank) {
    if (rank == withholding) return Status();
    std::vector<float> values(4);
    return ReduceInPlace(job.engine(rank), RequestFor("w", 4), &values);
  });
  for (int rank = 0; rank < kSize; ++rank) {
    if (rank == withholding) continue;
    const Status& status = statuses[static_cast<size_t>(rank)];
    CHECK(status.code() == StatusCode::kStalled);
    CHECK(status.blamed_rank() == withholding);
    CHECK_THAT(status.message(),
               Catch::Contains("'w'") && Catch::Contains("rank " + std::to_string(withholding)));
  }
  // Whoever withheld it learns why nothing works any more.
  std::vector<float> values(4);
  const Status late = ReduceInPlace(job.engine(withholding), RequestFor("w", 4), &values);
  CHECK(late.code() == StatusCode::kStalled);
}

}  // namespace
}  // namespace rueda::testing
