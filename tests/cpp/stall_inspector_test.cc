// Stall reports of engines at work: who asks, who answers, and what cannot be answered.
#include "engine/stall_inspector.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine_fakes.h"
#include "status_text.h"
#include "thread_job.h"

namespace rueda::testing {
namespace {

constexpr int kSize = 3;

// What all ranks log, each with its rank.
class Logs {
 public:
  Log For(int rank) {
    return [this, rank](LogLevel, const std::string& line) {
      {
        const std::lock_guard lock(mutex_);
        lines_.emplace_back(rank, line);
      }
      changed_.notify_all();
    };
  }
  // Waits until something was logged that has this in it.
  bool WaitFor(const std::string& words = "") {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, Patience(), [&] {
      return std::any_of(lines_.begin(), lines_.end(), [&](const auto& line) {
        return line.second.find(words) != std::string::npos;
      });
    });
  }
  std::vector<std::pair<int, std::string>> lines() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<int, std::string>> lines_;  // guarded by mutex_
};

Config Checked(double seconds) {
  Config config;
  config.stall_check_time_seconds = seconds;
  return config;
}

// All but rank 1 offer "w"; it does once something was logged that has `words` in it. That line,
// which is the first, unless the machine was too busy for answers in time and a later one has them.
std::string ReportWith(ThreadJob& job, Logs& logs, const std::string& words) {
  std::vector<std::vector<float>> values(kSize, std::vector<float>(4, 1.0f));
  const auto first = SubmitInPlace(job.engine(0), RequestFor("w", 4), &values[0]);
  const auto third = SubmitInPlace(job.engine(2), RequestFor("w", 4), &values[2]);
  const bool said = logs.WaitFor(words);
  const Status own = ReduceInPlace(job.engine(1), RequestFor("w", 4), &values[1]);
  CHECK(own == Status());
  CHECK(Finish(job.engine(0), first) == Status());
  CHECK(Finish(job.engine(2), third) == Status());
  REQUIRE(said);
  for (const auto& [rank, line] : logs.lines()) {
    CHECK(rank == 0);
    if (line.find(words) != std::string::npos) return line;
  }
  return "";
}

TEST_CASE("the program of a missing rank is asked", "[engine][stall]") {
  Logs logs;
  std::mutex mutex;
  std::vector<std::string> told;
  ThreadJob job(kSize, Checked(0.05), [&](int rank, engine::EngineParts& parts) {
    parts.log = logs.For(rank);
    parts.hooks.describe_program = [rank] {
      return "is in f" + std::to_string(rank) + " (x.py:1)\nx.py:1 in f";
    };
    parts.hooks.tell_launcher = [&](const std::string& headline, const std::string&) {
      const std::lock_guard lock(mutex);
      told.push_back(headline);
    };
  });
  const std::string report = ReportWith(job, logs, "is in f1");
  job.StopAll();
  CHECK_THAT(report, Catch::Contains("allreduce 'w' waits for " + RankName(1) +
                                     ", which is in f1 (x.py:1)") &&
                         Catch::Contains("x.py:1 in f") && !Catch::Contains("f0"));
  REQUIRE(told.size() >= 2);
  CHECK_THAT(told.front(), Catch::StartsWith("stalled for ") && !Catch::Contains("\n"));
  CHECK_THAT(told.back(), Catch::StartsWith("resumed after "));
}

TEST_CASE("a program that cannot answer is busy, and holds nothing up", "[engine][stall]") {
  Logs logs;
  auto gate = std::make_shared<Gate>();  // with the question's thread, which may outlive the job
  {
    ThreadJob job(kSize, Checked(0.05), [&](int rank, engine::EngineParts& parts) {
      parts.log = logs.For(rank);
      parts.hooks.describe_program = [gate] {
        gate->Enter();
        return std::string("is back");
      };
    });
    const std::string report = ReportWith(job, logs, "is busy");
    CHECK_THAT(report, Catch::Contains("which is busy: its engine answers"));
    job.StopAll();  // within its limits, though the gate is closed
  }
  gate->Open();
}

TEST_CASE("a program that answers late is told in the next report", "[engine][stall]") {
  Logs logs;
  Gate gate;
  ThreadJob job(kSize, Checked(0.05), [&](int rank, engine::EngineParts& parts) {
    parts.log = logs.For(rank);
    parts.hooks.describe_program = [&gate] {
      gate.Enter();
      return std::string("is back (x.py:2)");
    };
  });
  const OpensAtTheEnd opens(&gate);
  std::vector<float> value(4, 1.0f);
  const auto ticket = SubmitInPlace(job.engine(0), RequestFor("w", 4), &value);
  REQUIRE(logs.WaitFor());
  gate.Open();
  CHECK(logs.WaitFor("is back (x.py:2)"));
  std::vector<std::vector<float>> others(kSize, std::vector<float>(4, 1.0f));
  const auto second = SubmitInPlace(job.engine(1), RequestFor("w", 4), &others[1]);
  CHECK(ReduceInPlace(job.engine(2), RequestFor("w", 4), &others[2]) == Status());
  CHECK(Finish(job.engine(1), second) == Status());
  CHECK(Finish(job.engine(0), ticket) == Status());
}

TEST_CASE("a thousand withheld tensors make one report", "[engine][stall]") {
  Logs logs;
  ThreadJob job(kSize, Checked(0.5),
                [&](int rank, engine::EngineParts& parts) { parts.log = logs.For(rank); });
  constexpr size_t kTensors = 1000;
  std::vector<std::vector<float>> values(kSize * kTensors, std::vector<float>(4, 1.0f));
  std::vector<Result<engine::TicketPtr>> tickets;
  const auto submit = [&](int rank) {
    for (size_t i = 0; i < kTensors; ++i) {
      auto& value = values[static_cast<size_t>(rank) * kTensors + i];
      tickets.push_back(SubmitInPlace(job.engine(rank), RequestFor("t" + std::to_string(i), 4),
                                      &value, i + 1 == kTensors));
    }
  };
  submit(0);
  submit(2);
  REQUIRE(logs.WaitFor("'t0', 't1', 't2', 't3' and 996 more wait for rank 1"));
  const auto lines = logs.lines();
  CHECK(lines.size() < 5);  // where offering takes longer than the limit, reports of a part of them
  for (const auto& line : lines) CHECK(line.second.size() < 2000);
  submit(1);
  for (size_t i = 0; i < tickets.size(); ++i) {
    const int rank = i < kTensors ? 0 : i < 2 * kTensors ? 2 : 1;
    CHECK(Finish(job.engine(rank), tickets[i]) == Status());
  }
}

TEST_CASE("a bucket that does not move is reported by the lowest rank that can",
          "[engine][stall]") {
  Logs logs;
  Gate gate;
  ThreadJob job(kSize, Checked(0.1), [&](int rank, engine::EngineParts& parts) {
    parts.log = logs.For(rank);
    if (rank != 2) return;
    // Stands still in its first bucket until the gate opens, then goes on.
    parts.backend = std::make_unique<SteppedBackend>(std::move(parts.backend),
                                                     [&gate]() -> Result<backends::Progress> {
                                                       gate.Enter();
                                                       return backends::Progress::kMoved;
                                                     });
  });
  const OpensAtTheEnd opens(&gate);
  std::vector<std::vector<float>> values(kSize, std::vector<float>(100'000, 1.0f));
  std::vector<Result<engine::TicketPtr>> tickets;
  for (int rank = 0; rank < kSize; ++rank) {
    tickets.push_back(SubmitInPlace(job.engine(rank), RequestFor("w", 100'000),
                                    &values[static_cast<size_t>(rank)]));
  }
  REQUIRE(gate.WaitForArrival());
  REQUIRE(logs.WaitFor("allreduce 'w' has run for "));
  CHECK_THAT(logs.lines().back().second, Catch::Contains("still waiting for " + RankName(2)));
  gate.Open();
  for (int rank = 0; rank < kSize; ++rank) {
    CHECK(Finish(job.engine(rank), tickets[static_cast<size_t>(rank)]) == Status());
  }
  job.StopAll();
  for (const auto& [rank, line] : logs.lines()) CHECK(rank == 0);
  CHECK_THAT(logs.lines().back().second, Catch::StartsWith("resumed after "));
}

}  // namespace
}  // namespace rueda::testing
