// Parts of an engine that tests put between it and the real ones: to count, to stop, to fail.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "backend_world.h"
#include "engine/engine_parts.h"

namespace rueda::testing {

// Where an engine thread stops, as its process would in a debugger, until the test lets it go on.
class Gate {
 public:
  ~Gate() { Open(); }
  // The engine thread. Returns at once when the gate is open.
  void Enter() {
    arrived_.Ring();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }
  bool WaitForArrival() { return arrived_.WaitPast(0, Patience()); }
  void Open() {
    {
      const std::lock_guard lock(mutex_);
      open_ = true;
    }
    changed_.notify_all();
  }

 private:
  Bell arrived_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;  // guarded by mutex_
};

// A gate is opened before the job that it holds up is stopped.
class OpensAtTheEnd {
 public:
  explicit OpensAtTheEnd(Gate* gate) : gate_(gate) {}
  ~OpensAtTheEnd() { gate_->Open(); }
  OpensAtTheEnd(const OpensAtTheEnd&) = delete;
  OpensAtTheEnd& operator=(const OpensAtTheEnd&) = delete;

 private:
  Gate* gate_;
};

// Runs as the inner backend does, but asks before each step. The answer takes the step's place,
// unless it is kMoved: then the inner one steps. It has no one-shots, which take no steps.
class SteppedBackend final : public backends::Backend, private backends::Run {
 public:
  using BeforeStep = std::function<Result<backends::Progress>()>;

  SteppedBackend(std::unique_ptr<backends::Backend> inner, BeforeStep before_step)
      : inner_(std::move(inner)), before_step_(std::move(before_step)) {
    if (inner_->one_shot() != nullptr) inner_->one_shot()->End();
  }

  std::string_view name() const override { return inner_->name(); }
  Status Supports(const Bucket& bucket) const override { return inner_->Supports(bucket); }
  Result<backends::Run*> Begin(const Bucket& bucket, const BucketBuffers& buffers) override {
    Result<backends::Run*> run = inner_->Begin(bucket, buffers);
    if (!run.ok()) return run;
    run_ = *run;
    return static_cast<backends::Run*>(this);
  }
  Result<std::unique_ptr<backends::Backend>> Split(const backends::Subset& subset) override {
    auto split = inner_->Split(subset);
    if (!split.ok()) return split;
    return std::unique_ptr<backends::Backend>(
        std::make_unique<SteppedBackend>(std::move(*split), before_step_));
  }
  int64_t SplitBytes() const override { return inner_->SplitBytes(); }
  bool concurrent() const override { return inner_->concurrent(); }
  void Abort(const Status& why) override { inner_->Abort(why); }

 private:
  Result<backends::Progress> Step() override {
    Result<backends::Progress> answer = before_step_();
    if (!answer.ok() || *answer != backends::Progress::kMoved) return answer;
    return run_->Step();
  }
  std::vector<int> WaitsFor() const override { return run_->WaitsFor(); }

  std::unique_ptr<backends::Backend> inner_;
  BeforeStep before_step_;
  backends::Run* run_ = nullptr;
};

// Takes `free_steps` steps, then stops at the gate; afterwards it never gets any further.
inline std::unique_ptr<backends::Backend> StopsAt(Gate* gate, int free_steps,
                                                  std::unique_ptr<backends::Backend> inner) {
  auto steps = std::make_shared<int>(0);
  return std::make_unique<SteppedBackend>(
      std::move(inner), [gate, free_steps, steps]() -> Result<backends::Progress> {
        if ((*steps)++ < free_steps) return backends::Progress::kMoved;
        gate->Enter();
        return backends::Progress::kWaiting;
      });
}

// Notes the buckets that begin.
class NotingBackend final : public backends::Backend {
 public:
  struct Notes {
    std::atomic<int> buckets{0};
    std::atomic<int> in_place{0};
  };

  NotingBackend(std::unique_ptr<backends::Backend> inner, std::shared_ptr<Notes> notes)
      : inner_(std::move(inner)), notes_(std::move(notes)) {}

  std::string_view name() const override { return inner_->name(); }
  Status Supports(const Bucket& bucket) const override { return inner_->Supports(bucket); }
  Result<backends::Run*> Begin(const Bucket& bucket, const BucketBuffers& buffers) override {
    ++notes_->buckets;
    if (bucket.in_place()) ++notes_->in_place;
    return inner_->Begin(bucket, buffers);
  }
  Result<std::unique_ptr<backends::Backend>> Split(const backends::Subset& subset) override {
    return inner_->Split(subset);
  }
  int64_t SplitBytes() const override { return inner_->SplitBytes(); }
  bool concurrent() const override { return inner_->concurrent(); }
  backends::OneShot* one_shot() override { return inner_->one_shot(); }
  void Abort(const Status& why) override { inner_->Abort(why); }

 private:
  std::unique_ptr<backends::Backend> inner_;
  std::shared_ptr<Notes> notes_;
};

// Counts how often the engine went to sleep: an engine that spins goes thousands of times.
class CountingParker final : public transport::Parker {
 public:
  using Count = std::shared_ptr<std::atomic<int>>;
  CountingParker(std::unique_ptr<transport::Parker> inner, Count parks)
      : inner_(std::move(inner)), parks_(std::move(parks)) {}

  uint32_t Prepare() override { return inner_->Prepare(); }
  void Cancel() override { inner_->Cancel(); }
  void Park(uint32_t seen, TimePoint deadline) override {
    ++*parks_;
    inner_->Park(seen, deadline);
  }
  void Unpark() override { inner_->Unpark(); }

 private:
  std::unique_ptr<transport::Parker> inner_;
  Count parks_;
};

// Counts the rounds of the engine's loop: each asks its membership once.
class CountingMembership final : public transport::Membership {
 public:
  using Count = std::shared_ptr<std::atomic<int>>;
  CountingMembership(std::unique_ptr<transport::Membership> inner, Count rounds)
      : inner_(std::move(inner)), rounds_(std::move(rounds)) {}

  Status Check() override {
    ++*rounds_;
    return inner_->Check();
  }
  void AnnounceLeft() override { inner_->AnnounceLeft(); }
  void AnnounceFailure(const Status& why) override { inner_->AnnounceFailure(why); }
  bool EveryoneGone() const override { return inner_->EveryoneGone(); }
  void AbandonInForkedChild() override { inner_->AbandonInForkedChild(); }

 private:
  std::unique_ptr<transport::Membership> inner_;
  Count rounds_;
};

}  // namespace rueda::testing
