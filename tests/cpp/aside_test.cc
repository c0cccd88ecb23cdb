// Asides between engines at work: all arrive, in order, and a rank that leaves waits for them.
#include "engine/aside.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "engine/control_road.h"
#include "status_text.h"
#include "thread_job.h"

namespace rueda::engine {
namespace {

constexpr int kQuestions = 100;

struct Counts {
  std::atomic<int> heard{0};
  std::atomic<bool> in_order{true};
};

// Asks rank 0 a number of questions, one a step, and leaves once all are answered.
class Asker final : public AsideListener {
 public:
  explicit Asker(std::shared_ptr<Counts> counts) : counts_(std::move(counts)) {}

  AsideTopic topic() const override { return AsideTopic::kStall; }

  Status Hear(const Aside& aside) override {
    if (aside.rank != 0 || aside.body.front() != counts_->heard++) counts_->in_order = false;
    return Status::Ok();
  }

  Result<bool> Step(ControlRoad* road) override {
    if (asked_ == kQuestions || !road->CanTell(0)) return false;
    std::vector<uint8_t> body(kMaxAsideBytes);
    body.front() = static_cast<uint8_t>(asked_++);
    RUEDA_RETURN_IF_ERROR(road->Tell({topic(), 0, std::move(body)}));
    return true;
  }

  bool ReadyToLeave() override { return counts_->heard == kQuestions; }

 private:
  const std::shared_ptr<Counts> counts_;
  int asked_ = 0;
};

// Sends every question back.
class Echo final : public AsideListener {
 public:
  Echo(std::shared_ptr<Counts> counts, int askers)
      : counts_(std::move(counts)), expected_(askers * kQuestions) {}

  AsideTopic topic() const override { return AsideTopic::kStall; }

  Status Hear(const Aside& aside) override {
    ++counts_->heard;
    unanswered_.push_back(aside);
    return Status::Ok();
  }

  Result<bool> Step(ControlRoad* road) override {
    bool moved = false;
    while (!unanswered_.empty() && road->CanTell(unanswered_.front().rank)) {
      RUEDA_RETURN_IF_ERROR(road->Tell(unanswered_.front()));
      unanswered_.pop_front();
      moved = true;
    }
    return moved;
  }

  bool ReadyToLeave() override { return counts_->heard == expected_ && unanswered_.empty(); }

 private:
  const std::shared_ptr<Counts> counts_;
  const int expected_;
  std::deque<Aside> unanswered_;
};

TEST_CASE("asides of all ranks are told beside the work and before they leave", "[aside][engine]") {
  const int size = GENERATE(1, 2, 4);
  std::vector<std::shared_ptr<Counts>> counts;
  for (int rank = 0; rank < size; ++rank) counts.push_back(std::make_shared<Counts>());
  {
    testing::ThreadJob job(size, {}, [&](int rank, EngineParts& parts) {
      const auto& own = counts[static_cast<size_t>(rank)];
      parts.listeners.clear();
      if (rank == 0) {
        parts.listeners.push_back(std::make_unique<Echo>(own, size - 1));
      } else {
        parts.listeners.push_back(std::make_unique<Asker>(own));
      }
    });
    const auto statuses = job.ForEachRank([&](int rank) {
      Status first;
      for (int step = 0; step < 20 && first.ok(); ++step) {
        std::vector<float> values(1'000, static_cast<float>(rank));
        first = testing::ReduceInPlace(job.engine(rank), testing::RequestFor("x", 1'000), &values);
      }
      return first;
    });
    for (const Status& status : statuses) CHECK(status == Status());
  }
  CHECK(counts[0]->heard == (size - 1) * kQuestions);
  for (int rank = 1; rank < size; ++rank) {
    CHECK(counts[static_cast<size_t>(rank)]->heard == kQuestions);
    CHECK(counts[static_cast<size_t>(rank)]->in_order);
  }
}

class Unreadable final : public AsideListener {
 public:
  AsideTopic topic() const override { return AsideTopic::kTimeline; }
  Status Hear(const Aside&) override { return {StatusCode::kCorrupt, "no such record"}; }
  Result<bool> Step(ControlRoad* road) override {
    if (told_ || !road->CanTell(0)) return false;
    told_ = true;
    RUEDA_RETURN_IF_ERROR(road->Tell({topic(), 0, {}}));
    return true;
  }

 private:
  bool told_ = false;
};

TEST_CASE("a listener's error ends the epoch", "[aside][engine]") {
  testing::ThreadJob job(2, {}, [&](int, EngineParts& parts) {
    parts.listeners.push_back(std::make_unique<Unreadable>());
  });
  const auto statuses = job.ForEachRank([&](int rank) {
    Status first;
    for (int step = 0; step < 100'000 && first.ok(); ++step) {
      std::vector<float> values(10);
      first = testing::ReduceInPlace(job.engine(rank), testing::RequestFor("x", 10), &values);
    }
    return first;
  });
  for (const Status& status : statuses) {
    CHECK(status.code() == StatusCode::kCorrupt);
    CHECK_THAT(status.message(), Catch::Contains("no such record"));
  }
}

}  // namespace
}  // namespace rueda::engine
