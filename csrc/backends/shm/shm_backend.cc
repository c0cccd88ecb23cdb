#include "backends/shm/shm_backend.h"

#include <atomic>
#include <mutex>
#include <optional>

#include "backends/shm/shm_run.h"
#include "backends/shm/staging_ring.h"

namespace rueda::backends {
namespace {

class ShmBackend final : public Backend, private Run {
 public:
  explicit ShmBackend(ShmGroup group)
      : group_(std::move(group)), ring_(group_.staging_bytes), run_(&group_, &ring_) {}

  std::string_view name() const override { return "shm"; }
  Status Supports(const Bucket&) const override { return Status::Ok(); }

  Result<Run*> Begin(const Bucket& bucket, const BucketBuffers& buffers) override {
    run_.Reset(bucket, buffers);
    return static_cast<Run*>(this);
  }

  void Abort(const Status& why) override {
    std::lock_guard lock(mutex_);
    if (aborted_.load(std::memory_order_relaxed)) return;
    why_ = why;
    // Release: pairs with Step's acquire, which then reads why_.
    aborted_.store(true, std::memory_order_release);
  }

 private:
  Result<Progress> Step() override {
    if (aborted_.load(std::memory_order_acquire)) return why_;
    return run_.Step();
  }
  std::vector<int> WaitsFor() const override { return run_.WaitsFor(); }

  const ShmGroup group_;
  StagingRing ring_;
  ShmRun run_;
  std::mutex mutex_;
  std::atomic<bool> aborted_{false};
  Status why_;  // written once, before aborted_
};

}  // namespace

std::unique_ptr<Backend> MakeShmBackend(ShmGroup group) {
  return std::make_unique<ShmBackend>(std::move(group));
}

}  // namespace rueda::backends
