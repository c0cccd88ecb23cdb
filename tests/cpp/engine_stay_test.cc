// Rank 0 after its own part: it agrees for process sets without it until none of them is whole.
#include <atomic>
#include <catch2/catch.hpp>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "control/process_sets.h"
#include "engine_fakes.h"
#include "status_text.h"
#include "thread_job.h"

namespace rueda::testing {
namespace {

using Values = std::vector<int32_t>;

// A job of three ranks whose ranks 1 and 2 have a process set of their own.
struct JobWithASet {
  ThreadJob job;
  uint32_t set = 0;

  explicit JobWithASet(const ThreadJob::Adjust& adjust = nullptr) : job(3, {}, adjust) {
    const auto ids = job.ForEachRank([&](int rank) {
      auto request = std::make_shared<control::Request>();
      request->kind = OpKind::kAddProcessSet;
      request->name = "add";
      request->parts = {1, 2};
      request->transient = true;
      const auto ticket = job.engine(rank).Submit({request, {}, nullptr, true});
      return Finish(job.engine(rank), ticket).ok() ? (*ticket)->number() : 0;
    });
    set = static_cast<uint32_t>(ids[1]);
    REQUIRE(set > 0);
  }

  // Stops rank 0 on a thread of its own; the others have heard of it before this returns.
  std::future<void> StopRank0(const std::string& reason = "") {
    auto stopping = std::async(std::launch::async, [this, reason] { job.engine(0).Stop(reason); });
    Values values(4);
    REQUIRE(ReduceInPlace(job.engine(1), RequestFor("of all", 4, DType::kInt32), &values).code() ==
            StatusCode::kPeerLeft);
    return stopping;
  }

  // What ranks 1 and 2 have after they have summed in `set`; the status in words if that failed.
  std::vector<std::string> Sum(uint32_t in, size_t count, const std::string& name = "x") {
    return job.ForEachRank([&](int rank) -> std::string {
      if (rank == 0) return "";
      Values values(count, rank);
      auto request = RequestFor(name, static_cast<int64_t>(count), DType::kInt32);
      request->process_set = in;
      const Status status = ReduceInPlace(job.engine(rank), request, &values);
      if (!status.ok()) return status.message();
      return values == Values(count, 3) ? "" : "a wrong sum";
    });
  }
};

bool IsOver(const std::future<void>& stopping) {
  return stopping.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

// Steady time, and what was added to it.
class LeapingClock final : public Clock {
 public:
  TimePoint Now() const override { return SteadyClock().Now() + Duration(added_); }
  void Leap(Duration by) { added_ += by.count(); }

 private:
  std::atomic<int64_t> added_{0};
};

TEST_CASE("rank 0 stays for sets without it until they are done", "[engine][stop]") {
  JobWithASet with;
  auto stopping = with.StopRank0();
  for (int round = 0; round < 50; ++round) {
    for (const size_t count : {size_t{0}, size_t{1}, size_t{100'003}}) {
      const std::string name = "x" + std::to_string(count);
      for (const std::string& wrong : with.Sum(with.set, count, name)) REQUIRE(wrong == "");
    }
  }
  CHECK_FALSE(IsOver(stopping));
  // No set is whole without this one.
  with.job.engine(1).Stop();
  stopping.get();
  CHECK(with.job.engine(0).first_error() == Status());
  CHECK(with.job.engine(2).first_error() == Status());
}

TEST_CASE("rank 0 stays for pairs that have spoken", "[engine][stop]") {
  constexpr int kSteps = 20;
  ThreadJob job(4);
  // A ring of messages in which rank 0 is the first to be done.
  const auto wrong = job.ForEachRank([&](int rank) {
    int problems = 0;
    const int right = (rank + 1) % 4, left = (rank + 3) % 4;
    for (int step = 0; step < kSteps; ++step) {
      const auto count = static_cast<int64_t>(step) * 1'000 + 1;
      const auto message = [&](int from, int to) {
        auto request =
            RequestFor("from " + std::to_string(from), count, DType::kInt32, OpKind::kBroadcast);
        request->process_set = control::PairOf(from, to);
        request->root = from;
        return request;
      };
      Values sent(static_cast<size_t>(count), rank), found(static_cast<size_t>(count));
      const auto sending = SubmitInPlace(job.engine(rank), message(rank, right), &sent);
      // Rank 2 takes its last message once rank 0 has left.
      if (rank == 2 && step == kSteps - 1) {
        const Status all = WaitAtBarrier(job.engine(rank), "of all");
        problems += all.code() != StatusCode::kPeerLeft;
      }
      problems += !ReduceInPlace(job.engine(rank), message(left, rank), &found).ok();
      problems += found != Values(static_cast<size_t>(count), left);
      problems += !Finish(job.engine(rank), sending).ok();
    }
    job.engine(rank).Stop();
    return problems;
  });
  for (const int one : wrong) CHECK(one == 0);
}

TEST_CASE("what rank 0 has in flight ends before it stays", "[engine][stop]") {
  JobWithASet with;
  Values values(4);
  const auto unmatched =
      SubmitInPlace(with.job.engine(0), RequestFor("mine", 4, DType::kInt32), &values);
  auto stopping = with.StopRank0();
  CHECK(Finish(with.job.engine(0), unmatched).code() == StatusCode::kShutDown);
  const auto late = with.job.engine(0).Submit({BarrierRequest("late"), {}, nullptr, true});
  CHECK(late.status().code() == StatusCode::kShutDown);
  CHECK_FALSE(IsOver(stopping));
  with.job.engine(2).Stop();
  stopping.get();
}

TEST_CASE("after an exception rank 0 does not stay", "[engine][stop]") {
  JobWithASet with;
  with.StopRank0("ValueError: a label is out of range").get();
  for (const int rank : {1, 2}) {
    Values values(4);
    auto request = RequestFor("x", 4, DType::kInt32);
    request->process_set = with.set;
    const Status status = ReduceInPlace(with.job.engine(rank), request, &values);
    CHECK(status.code() == StatusCode::kPeerLeft);
    CHECK_THAT(status.message(), Catch::Contains("ValueError"));
  }
}

TEST_CASE("a death among the others ends rank 0's stay", "[engine][stop]") {
  JobWithASet with;
  auto stopping = with.StopRank0();
  with.job.TellOfDeath(2);
  stopping.get();
  CHECK(with.job.engine(0).first_error().blamed_rank() == 2);
}

TEST_CASE("a long stay is told once", "[engine][stop]") {
  auto clock = std::make_shared<LeapingClock>();
  std::mutex mutex;
  std::vector<std::string> warnings;
  JobWithASet with([&](int rank, engine::EngineParts& parts) {
    if (rank != 0) return;
    parts.clock = clock;
    parts.log = [&](LogLevel, const std::string& text) {
      const std::lock_guard lock(mutex);
      warnings.push_back(text);
    };
  });
  auto stopping = with.StopRank0();
  for (int round = 0; round < 3; ++round) {
    // Its loop has come round, and has seen the time of now, once it has agreed on the second.
    for (int time = 0; time < 2; ++time) {
      for (const std::string& wrong : with.Sum(with.set, 10)) REQUIRE(wrong == "");
    }
    clock->Leap(std::chrono::seconds(11));
  }
  with.job.engine(1).Stop();
  stopping.get();
  const std::lock_guard lock(mutex);
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0] ==
        "rank 0 shut down and stays, because it agrees for process sets without it, "
        "too: " +
            RankName(1) + " and " + RankName(2) +
            " still work in such. It goes when they shut down.");
}

}  // namespace
}  // namespace rueda::testing
