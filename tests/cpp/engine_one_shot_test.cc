// Small calls of whole jobs, which go to meetings or are offered: the same comes of them.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine_fakes.h"
#include "seeds.h"
#include "status_text.h"
#include "thread_job.h"

namespace rueda::testing {
namespace {

// As a synchronous call of Python's: who submits it waits for it at once.
Status Call(engine::Engine& engine, std::shared_ptr<const control::Request> request,
            std::vector<float>* values) {
  const TensorView view{values->data(), static_cast<int64_t>(values->size()), DType::kFloat32};
  return Finish(engine, engine.Submit({std::move(request),
                                       {{view}, {view}},
                                       nullptr,
                                       /*urgent=*/true,
                                       /*driven=*/true}));
}

// "" if the ranks' numbers from 1 on were added up.
std::string Sum(ThreadJob& job, int rank, const std::string& name, int64_t count, bool offers) {
  std::vector<float> values(static_cast<size_t>(count), static_cast<float>(rank + 1));
  engine::Engine& engine = job.engine(rank);
  const auto request = RequestFor(name, count);
  const Status status = offers ? Finish(engine, SubmitInPlace(engine, request, &values))
                               : Call(engine, request, &values);
  if (!status.ok()) return status.message();
  const auto expected = static_cast<float>(job.size() * (job.size() + 1) / 2);
  const bool right =
      std::all_of(values.begin(), values.end(), [&](float one) { return one == expected; });
  return right ? "" : name + " is wrong";
}

ThreadJob::Adjust Noting(const std::shared_ptr<NotingBackend::Notes>& notes) {
  return [notes](int, engine::EngineParts& parts) {
    parts.backend = std::make_unique<NotingBackend>(std::move(parts.backend), notes);
  };
}

TEST_CASE("small calls that somebody waits for run no buckets", "[engine][one-shot]") {
  const int size = GENERATE(2, 3, 4);
  constexpr int kCalls = 200;
  const auto notes = std::make_shared<NotingBackend::Notes>();
  ThreadJob job(size, {}, Noting(notes));
  const auto wrong = job.ForEachRank([&](int rank) {
    std::string found;
    for (int i = 0; i < kCalls && found.empty(); ++i) {
      found = Sum(job, rank, "x" + std::to_string(i % 3), 1 + i * 20, /*offers=*/false);
    }
    return found;
  });
  for (const std::string& one : wrong) CHECK(one.empty());
  // A rank that was away for long has others offer, so the share is the machine's matter.
  CHECK(notes->buckets < size * kCalls);
}

TEST_CASE("without one-shots every call is a bucket", "[engine][one-shot]") {
  constexpr int kCalls = 50;
  const auto notes = std::make_shared<NotingBackend::Notes>();
  Config off;
  off.one_shot_bytes = 0;
  ThreadJob job(2, off, Noting(notes));
  const auto wrong = job.ForEachRank([&](int rank) {
    std::string found;
    for (int i = 0; i < kCalls && found.empty(); ++i) {
      found = Sum(job, rank, "x", 5, /*offers=*/false);
    }
    return found;
  });
  for (const std::string& one : wrong) CHECK(one.empty());
  CHECK(notes->buckets == 2 * kCalls);
}

TEST_CASE("ranks may meet and offer as they like", "[engine][one-shot]") {
  const int size = GENERATE(2, 3, 4);
  const auto seed = GENERATE(range(0U, SeedsOf(6U)));
  CAPTURE(size, seed);
  constexpr int kCalls = 150;
  ThreadJob job(size);
  const auto wrong = job.ForEachRank([&](int rank) {
    std::mt19937 of_all(seed);
    std::mt19937 own(seed * 31 + static_cast<uint32_t>(rank));
    std::string found;
    for (int i = 0; i < kCalls && found.empty(); ++i) {
      const auto count = static_cast<int64_t>(of_all() % 4 == 0 ? of_all() % 9000 : of_all() % 20);
      const bool may_offer = of_all() % 3 == 0;
      if (own() % 40 == 0) {
        // Shorter and longer than meetings wait for a rank that is late.
        Bell().WaitPast(0, SteadyClock().Now() + std::chrono::milliseconds(own() % 25));
      }
      found = Sum(job, rank, "x" + std::to_string(i % 5), count, may_offer && own() % 2 == 0);
    }
    return found;
  });
  for (const std::string& one : wrong) CHECK(one.empty());
}

// Another all-reduce that is under way while the rank calls something else.
class UnderWay {
 public:
  UnderWay(ThreadJob& job, int rank, const std::string& name, int64_t count)
      : engine_(job.engine(rank)), values_(static_cast<size_t>(count), static_cast<float>(rank)) {
    const TensorView view{values_.data(), count, DType::kFloat32};
    ticket_ = engine_.Submit({RequestFor(name, count), {{view}, {view}}, nullptr});
    total_ = static_cast<float>(job.size() * (job.size() - 1) / 2);
  }
  std::string Wait() {
    const Status status = Finish(engine_, ticket_);
    if (!status.ok()) return status.message();
    const bool right =
        std::all_of(values_.begin(), values_.end(), [&](float one) { return one == total_; });
    return right ? "" : "what was under way is wrong";
  }

 private:
  engine::Engine& engine_;
  std::vector<float> values_;
  Result<engine::TicketPtr> ticket_{engine::TicketPtr()};
  float total_ = 0;
};

// Frames come in while ranks are at a meeting for a bucket; all run both in one order.
TEST_CASE("buckets have one order, sent or met for", "[engine][one-shot]") {
  const int size = GENERATE(2, 3, 4);
  const auto seed = GENERATE(range(0U, SeedsOf(8U)));
  CAPTURE(size, seed);
  constexpr int kCalls = 120;
  ThreadJob job(size);
  const auto wrong = job.ForEachRank([&](int rank) {
    std::mt19937 of_all(seed);
    std::mt19937 own(seed * 31 + static_cast<uint32_t>(rank));
    std::string found;
    for (int i = 0; i < kCalls && found.empty(); ++i) {
      std::vector<UnderWay> others;
      const auto some = of_all() % 3;
      for (uint32_t other = 0; other < some; ++other) {
        const auto count = static_cast<int64_t>(of_all() % 3 == 0 ? 5000 : 1);
        others.emplace_back(job, rank, "other" + std::to_string(other), count);
      }
      const auto pause = std::chrono::microseconds(own() % 4 == 0 ? own() % 300 : 0);
      Bell().WaitPast(0, SteadyClock().Now() + pause);
      // Of one size each, so that most have slots.
      const auto name = of_all() % 3;
      found = Sum(job, rank, "x" + std::to_string(name), 4097 + name * 1000, /*offers=*/false);
      for (UnderWay& other : others) found += other.Wait();
    }
    return found;
  });
  for (const std::string& one : wrong) CHECK(one.empty());
}

TEST_CASE("threads of a rank meet in any order", "[engine][one-shot]") {
  constexpr int kThreads = 3, kCalls = 60;
  ThreadJob job(3);
  const auto wrong = job.ForEachRank([&](int rank) {
    std::vector<std::string> found(kThreads);
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        std::string& wrong_here = found[static_cast<size_t>(thread)];
        for (int i = 0; i < kCalls && wrong_here.empty(); ++i) {
          const int64_t count = thread == 0 ? 5000 : 1 + i;  // a bucket, and small ones
          wrong_here = Sum(job, rank, "t" + std::to_string(thread), count, /*offers=*/false);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return found;
  });
  for (const auto& of_rank : wrong) {
    for (const std::string& one : of_rank) CHECK(one.empty());
  }
}

TEST_CASE("ranks that disagree are told as ever", "[engine][one-shot]") {
  ThreadJob job(3);
  const auto statuses = job.ForEachRank([&](int rank) {
    std::vector<float> values(rank == 1 ? 5 : 4, 1.0f);
    return Call(job.engine(rank), RequestFor("w", static_cast<int64_t>(values.size())), &values);
  });
  for (const Status& status : statuses) {
    CHECK(status.code() == StatusCode::kMismatch);
    CHECK_THAT(status.message(), Catch::Contains("offered [5], ranks 0 and 2 [4]"));
  }
  const auto wrong = job.ForEachRank([&](int rank) { return Sum(job, rank, "w", 4, false); });
  for (const std::string& one : wrong) CHECK(one.empty());
}

TEST_CASE("a rank that has joined is counted as absent", "[engine][one-shot]") {
  ThreadJob job(3);
  const auto wrong = job.ForEachRank([&](int rank) {
    auto join = RequestFor("join", 0, DType::kUInt8, OpKind::kJoin);
    join->tensors.clear();
    if (rank == 2)
      return Finish(job.engine(rank), job.engine(rank).Submit({join, {}, nullptr})).message();
    for (int i = 0; i < 30; ++i) {
      std::vector<float> values(3, static_cast<float>(rank + 1));
      const Status status = Call(job.engine(rank), RequestFor("x", 3), &values);
      if (!status.ok()) return status.message();
      if (values != std::vector<float>(3, 3.0f)) return "call " + std::to_string(i) + " is wrong";
    }
    return Finish(job.engine(rank), job.engine(rank).Submit({join, {}, nullptr})).message();
  });
  for (const std::string& one : wrong) CHECK(one.empty());
}

// Ends, after a call that all ranks were in, with the status of one that a rank is not in.
Status CallWithout(ThreadJob& job, int rank) {
  Status status;
  while (status.ok()) {
    std::vector<float> values(4, static_cast<float>(rank + 1));
    status = Call(job.engine(rank), RequestFor("x", 4), &values);
  }
  return status;
}

TEST_CASE("who waits for a rank that has left hears of it", "[engine][one-shot]") {
  const int leaver = GENERATE(0, 1, 2);
  ThreadJob job(3);
  const auto statuses = job.ForEachRank([&](int rank) {
    if (rank != leaver) return CallWithout(job, rank);
    const std::string found = Sum(job, rank, "x", 4, /*offers=*/false);
    job.engine(rank).Stop();
    return Status(found.empty() ? StatusCode::kPeerLeft : StatusCode::kCorrupt, found);
  });
  for (const Status& status : statuses) {
    CAPTURE(status.message());
    CHECK(status.code() == StatusCode::kPeerLeft);
  }
}

// The answer to the rank that offers is about what the other one waits for at a meeting.
TEST_CASE("a meeting ends with the answer to an offer of the same", "[engine][one-shot]") {
  const auto round = GENERATE(range(0, SeedsOf(8)));
  ThreadJob job(3);
  const auto statuses = job.ForEachRank([&](int rank) {
    const std::string found = Sum(job, rank, "x", 4, /*offers=*/false);
    if (!found.empty()) return Status(StatusCode::kCorrupt, found);
    if (rank == 2) job.engine(rank).Stop();
    if (rank == 2) return Status(StatusCode::kPeerLeft, "");
    std::vector<float> values(4);
    Bell().WaitPast(0, SteadyClock().Now() + std::chrono::milliseconds((round + rank) % 3));
    const auto request = RequestFor("x", 4);
    if (rank == round % 2) return Call(job.engine(rank), request, &values);
    return Finish(job.engine(rank), SubmitInPlace(job.engine(rank), request, &values));
  });
  for (const Status& status : statuses) {
    CAPTURE(status.message());
    CHECK(status.code() == StatusCode::kPeerLeft);
  }
  // The two that are left go on.
  const auto after = job.ForEachRank([&](int rank) {
    std::vector<float> values(4);
    if (rank == 2) return Status(StatusCode::kPeerLeft, "");
    return Call(job.engine(rank), RequestFor("y", 4), &values);
  });
  for (const Status& status : after) CHECK(status.code() == StatusCode::kPeerLeft);
}

TEST_CASE("who waits for a rank that has died hears of it", "[engine][one-shot]") {
  ThreadJob job(3);
  const auto statuses = job.ForEachRank([&](int rank) {
    if (rank != 2) return CallWithout(job, rank);
    const std::string found = Sum(job, rank, "x", 4, /*offers=*/false);
    job.TellOfDeath(2);
    return Status(found.empty() ? StatusCode::kPeerLost : StatusCode::kCorrupt, found);
  });
  for (const Status& status : statuses) {
    CAPTURE(status.message());
    CHECK(status.code() == StatusCode::kPeerLost);
  }
}

}  // namespace
}  // namespace rueda::testing
