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

// Something may have happened. Any thread.
class Bell {
 public:
  void Ring() {
    {
      const std::lock_guard lock(mutex_);
      ++rings_;
    }
    changed_.notify_all();
  }
  uint64_t rings() {
    const std::lock_guard lock(mutex_);
    return rings_;
  }
  // False if it was not rung more than `seen` times by the deadline.
  bool WaitPast(uint64_t seen, TimePoint deadline) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, deadline, [&] { return rings_ > seen; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t rings_ = 0;
};

// Steps a run until it is done or fails. For backends that ring a bell when a step is worthwhile.
inline Status DriveByBell(Bell& bell, backends::Run& run, TimePoint deadline) {
  while (true) {
    const uint64_t seen = bell.rings();
    const Result<backends::Progress> progress = run.Step();
    if (!progress.ok()) return progress.status();
    if (*progress == backends::Progress::kDone) return Status::Ok();
    if (*progress == backends::Progress::kMoved) continue;
    if (!bell.WaitPast(seen, deadline)) return {StatusCode::kTimedOut, "the test lost patience"};
  }
}

// Memory of one rank at an offset that Bucket::placements may name.
struct PlacedMemory {
  std::shared_ptr<uint8_t> data;
  int64_t offset = 0;
};

struct BackendWorld {
  // Steps a run of this rank until it is done, fails, or the deadline passes.
  std::function<Status(int rank, backends::Run& run, TimePoint deadline)> drive;
  // Where the backend reduces placed buckets; null if every memory is the same to it.
  std::function<PlacedMemory(int rank, int64_t bytes)> place;
  std::vector<std::unique_ptr<backends::Backend>> backends;  // by rank; destroyed first

  int size() const { return static_cast<int>(backends.size()); }
};

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

// Runs one bucket on this rank to its end. A failure aborts every rank, so that none waits in vain.
inline Status RunBucket(BackendWorld& world, int rank, const Bucket& bucket,
                        const BucketBuffers& buffers) {
  backends::Backend& backend = *world.backends[static_cast<size_t>(rank)];
  Status status = backend.Supports(bucket);
  if (status.ok()) {
    Result<backends::Run*> run = backend.Begin(bucket, buffers);
    status = run.ok() ? world.drive(rank, **run, Patience()) : run.status();
  }
  if (!status.ok()) {
    for (const auto& other : world.backends) other->Abort(status);
  }
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
