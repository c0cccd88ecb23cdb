// GlooWorker: the thread on which Gloo's work blocks, with the links and the memory that it uses.
//
// One for a job, shared by the backends of all its process sets: they run one bucket at a time, in
// an order that all ranks share. The thread is started by the first bucket and joined by the
// destructor, which aborts what is under way. The first failure, or abort, is the answer to every
// later bucket. All calls come from the engine thread, except links().Abort.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "backends/gloo/make_gloo.h"
#include "backends/gloo/plugin/gloo_collectives.h"
#include "backends/gloo/plugin/peer_links.h"
#include "backends/gloo/plugin/scratch.h"

namespace rueda::backends {

// A bucket for the thread. Its memory changes hands by `running`: the engine writes before it is
// set, the thread before it is cleared.
struct GlooTask {
  GlooCollectives* collectives = nullptr;
  const Bucket* bucket = nullptr;
  const BucketBuffers* buffers = nullptr;
  Status result;
  // Cleared with release by the thread, read with acquire by Step: who sees false sees `result`
  // and the outputs.
  std::atomic<bool> running{false};
};

class GlooWorker {
 public:
  GlooWorker(std::unique_ptr<PeerLinks> links, WakeFunction wake, Duration run_timeout);
  ~GlooWorker();
  GlooWorker(const GlooWorker&) = delete;
  GlooWorker& operator=(const GlooWorker&) = delete;

  PeerLinks& links() { return *links_; }
  Scratch& scratch() { return scratch_; }  // the thread's

  // Hands a bucket to the thread as `task`; it touches tensors (I4) until it clears `running`, and
  // then calls wake. The task stays until Forget. kInvalidArgument while one is running.
  Status Begin(GlooCollectives* collectives, const Bucket& bucket, const BucketBuffers& buffers,
               GlooTask* task);

  // Returns when the thread knows nothing of the task any more. If it runs, the whole job's work is
  // aborted, because the streams stop in the middle; so this takes no longer than an abort.
  void Forget(const GlooTask* task);

 private:
  Status StartThread();
  void Serve();
  Status Execute(const GlooTask& task);

  const std::unique_ptr<PeerLinks> links_;
  const WakeFunction wake_;
  const Duration run_timeout_;
  Scratch scratch_;
  GlooTask* task_ = nullptr;  // the last one begun; published by mutex_ with begun_

  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t begun_ = 0;     // tasks; guarded by mutex_
  uint64_t ended_ = 0;     // tasks of which the thread knows nothing any more; guarded by mutex_
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace rueda::backends
