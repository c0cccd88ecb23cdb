// GlooBackend: runs buckets through Gloo on a thread of its own, because Gloo's calls block.
//
// The thread is started by the first Begin and joined by the destructor, which aborts what is under
// way. It touches tensors only between Begin and the Step that says done or fails (I4), and calls
// `wake` when such a Step is worth it. The first failure, or abort, is the answer to every later
// run.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "backends/backend.h"
#include "backends/gloo/make_gloo.h"
#include "backends/gloo/plugin/gloo_collectives.h"
#include "backends/gloo/plugin/peer_links.h"

namespace rueda::backends {

class GlooBackend final : public Backend {
 public:
  static Result<std::unique_ptr<Backend>> Make(GlooParts parts);
  ~GlooBackend() override;
  GlooBackend(const GlooBackend&) = delete;
  GlooBackend& operator=(const GlooBackend&) = delete;

  std::string_view name() const override { return "gloo"; }
  Status Supports(const Bucket& bucket) const override;
  Result<Run*> Begin(const Bucket& bucket, const BucketBuffers& buffers) override;
  void Abort(const Status& why) override;

 private:
  // The run under way, or the last one. Its memory changes hands by `running_`: the engine writes
  // before it sets it, the thread writes before it clears it.
  class BucketRun final : public Run {
   public:
    explicit BucketRun(const PeerLinks& links) : links_(links) {}

    Result<Progress> Step() override;
    std::vector<int> WaitsFor() const override { return links_.WaitsFor(); }

    const Bucket* bucket = nullptr;
    const BucketBuffers* buffers = nullptr;
    Status result;
    // Cleared with release by the thread, read with acquire by Step: who sees false sees `result`
    // and the outputs.
    std::atomic<bool> running{false};

   private:
    const PeerLinks& links_;
  };

  GlooBackend(std::unique_ptr<PeerLinks> links, WakeFunction wake, Duration run_timeout);

  Status StartThread();
  void Serve();
  Status Execute(const Bucket& bucket, const BucketBuffers& buffers);

  const std::unique_ptr<PeerLinks> links_;
  GlooCollectives collectives_;
  const WakeFunction wake_;
  const Duration run_timeout_;
  BucketRun run_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool begun_ = false;     // guarded by mutex_: run_ waits for the thread
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace rueda::backends
