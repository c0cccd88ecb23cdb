// Backends of all ranks of a job in one process, a thread for each, and buckets for them to run.
//
// The threads return values; only the main thread may use Catch2, whose assertions are not
// thread-safe. Nothing here waits without a deadline.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backends/backend.h"
#include "core/bucket.h"
#include "core/clock.h"
#include "core/status.h"

namespace rueda::testing {

// Generous, because sanitizers and busy machines are slow; reached only by a test that fails.
inline TimePoint Patience() { return SteadyClock().Now() + std::chrono::seconds(60); }

// What wakes a rank when a step may be worthwhile. Any thread.
class Alarm {
 public:
  virtual ~Alarm() = default;
  virtual void Ring() = 0;
  // Changes with every ring.
  virtual uint64_t rings() = 0;
  // False if it was not rung after `seen` by the deadline. May return early with true.
  virtual bool WaitPast(uint64_t seen, TimePoint deadline) = 0;
};

// An alarm that counts. Any thread.
class Bell final : public Alarm {
 public:
  void Ring() override {
    {
      const std::lock_guard lock(mutex_);
      ++rings_;
    }
    changed_.notify_all();
  }
  uint64_t rings() override {
    const std::lock_guard lock(mutex_);
    return rings_;
  }
  // False if it was not rung more than `seen` times by the deadline.
  bool WaitPast(uint64_t seen, TimePoint deadline) override {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, deadline, [&] { return rings_ > seen; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t rings_ = 0;
};

// Memory of one rank at an offset that Bucket::placements may name.
struct PlacedMemory {
  std::shared_ptr<uint8_t> data;
  int64_t offset = 0;
};

struct BackendWorld {
  BackendWorld* parent = nullptr;              // of a process set's world; outlives it
  std::vector<std::shared_ptr<Alarm>> alarms;  // by rank
  // Zeroed memory, aligned to 64, where the backend reduces placed buckets and its sets have their
  // own; null if every memory is the same to it.
  std::function<PlacedMemory(int rank, int64_t bytes)> place;
  std::vector<std::unique_ptr<backends::Backend>> backends;  // by rank; destroyed first

  int size() const { return static_cast<int>(backends.size()); }
  backends::Backend& backend(int rank) const { return *backends[static_cast<size_t>(rank)]; }
  Alarm& alarm(int rank) const { return *alarms[static_cast<size_t>(rank)]; }

  // Everywhere, as an engine does: it wakes itself after it has aborted its backend. Any thread.
  void Abort(const Status& why) {
    if (parent != nullptr) return parent->Abort(why);
    for (const auto& backend : backends) backend->Abort(why);
    for (const auto& alarm : alarms) alarm->Ring();
  }
};

// Steps a run of this rank until it is done, fails, or the deadline passes.
inline Status Drive(const BackendWorld& world, int rank, backends::Run& run, TimePoint deadline) {
  while (true) {
    const uint64_t seen = world.alarm(rank).rings();
    const Result<backends::Progress> progress = run.Step();
    if (!progress.ok()) return progress.status();
    if (*progress == backends::Progress::kDone) return Status::Ok();
    if (*progress == backends::Progress::kMoved) continue;
    if (!world.alarm(rank).WaitPast(seen, deadline)) {
      return {StatusCode::kTimedOut, "the test lost patience"};
    }
  }
}

struct BackendFixture {
  std::function<BackendWorld(int size)> make;
  // Whether float sums are the canonical tree, bit for bit; otherwise any order will do.
  bool canonical = false;
};

// Runs body(rank) on a thread for each rank and returns what they returned.
inline std::vector<Status> OnEachRank(int size, const std::function<Status(int rank)>& body) {
  std::vector<Status> statuses(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] { statuses[static_cast<size_t>(rank)] = body(rank); });
  }
  for (std::thread& thread : threads) thread.join();
  return statuses;
}

inline Result<backends::Run*> BeginBucket(BackendWorld& world, int rank, const Bucket& bucket,
                                          const BucketBuffers& buffers) {
  RUEDA_RETURN_IF_ERROR(world.backend(rank).Supports(bucket));
  return world.backend(rank).Begin(bucket, buffers);
}

// Runs one bucket on this rank to its end. A failure aborts every rank, so that none waits in vain.
inline Status RunBucket(BackendWorld& world, int rank, const Bucket& bucket,
                        const BucketBuffers& buffers) {
  const Result<backends::Run*> run = BeginBucket(world, rank, bucket, buffers);
  const Status status = run.ok() ? Drive(world, rank, **run, Patience()) : run.status();
  if (!status.ok()) world.Abort(status);
  return status;
}

// "" if all are ok, else the first failure in words.
inline std::string FirstFailure(const std::vector<Status>& statuses) {
  for (size_t rank = 0; rank < statuses.size(); ++rank) {
    if (statuses[rank].ok()) continue;
    return "rank " + std::to_string(rank) + ": " + CodeName(statuses[rank].code()) + " " +
           statuses[rank].message();
  }
  return "";
}

}  // namespace rueda::testing
