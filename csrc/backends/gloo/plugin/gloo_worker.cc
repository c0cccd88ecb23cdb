#include "backends/gloo/plugin/gloo_worker.h"

#include <string>
#include <system_error>
#include <utility>

#include "device/reduce.h"
#include "transport/thread_setup.h"

namespace rueda::backends {
namespace {

// "gloo: allreduce of 1024 float32 elements"
std::string Describe(const Bucket& bucket) {
  std::string text = "gloo: " + std::string(NameOf(bucket.kind));
  if (bucket.kind == OpKind::kBarrier) return text;
  int64_t count = 0;
  for (const int64_t part : bucket.counts) count += part;
  return text + " of " + std::to_string(count) + " " + std::string(NameOf(bucket.dtype)) +
         " elements";
}

}  // namespace

GlooWorker::GlooWorker(std::unique_ptr<PeerLinks> links, WakeFunction wake, Duration run_timeout)
    : links_(std::move(links)), wake_(std::move(wake)), run_timeout_(run_timeout) {}

GlooWorker::~GlooWorker() {
  links_->Abort({StatusCode::kShutDown, "the gloo backend was shut down"});
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  // Bounded: the abort ends what the thread waits for, and a copy after one chunk.
  if (thread_.joinable()) thread_.join();
}

Status GlooWorker::Begin(GlooCollectives* collectives, const Bucket& bucket,
                         const BucketBuffers& buffers, GlooTask* task) {
  RUEDA_RETURN_IF_ERROR(links_->aborted());
  if (task_ != nullptr && task_->running.load(std::memory_order_acquire)) {
    return {StatusCode::kInvalidArgument,
            Describe(bucket) + " began before " + Describe(*task_->bucket) +
                " was finished; the gloo backend runs the buckets of all sets one by one"};
  }
  if (!thread_.joinable()) RUEDA_RETURN_IF_ERROR(StartThread());
  task->collectives = collectives;
  task->bucket = &bucket;
  task->buffers = &buffers;
  task->running.store(true, std::memory_order_relaxed);  // the mutex publishes it
  {
    const std::lock_guard lock(mutex_);
    task_ = task;
    ++begun_;
  }
  changed_.notify_all();
  return Status::Ok();
}

void GlooWorker::Forget(const GlooTask* task) {
  if (task_ != task) return;
  if (task->running.load(std::memory_order_acquire)) {
    links_->Abort({StatusCode::kShutDown,
                   "a gloo backend was shut down in the middle of " + Describe(*task->bucket)});
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ended_ == begun_; });
  task_ = nullptr;
}

Status GlooWorker::StartThread() {
  const transport::SignalsBlocked blocked;
  try {
    thread_ = std::thread(&GlooWorker::Serve, this);
  } catch (const std::system_error& error) {
    return SystemError("starting the thread of the gloo backend", error.code().value());
  }
  return Status::Ok();
}

void GlooWorker::Serve() {
  transport::NameThisThread("rueda-gloo");
  device::UseDefaultFloatingPointMode();
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return begun_ != ended_ || stopping_; });
    if (stopping_) return;
    GlooTask& task = *task_;
    lock.unlock();
    task.result = Execute(task);
    task.running.store(false, std::memory_order_release);
    // From here on the next task may have begun.
    if (wake_) wake_();
    lock.lock();
    ++ended_;
    changed_.notify_all();
  }
}

Status GlooWorker::Execute(const GlooTask& task) {
  links_->StartRun(run_timeout_);
  Status status = task.collectives->Run(*task.bucket, *task.buffers);
  if (status.ok()) return status;
  // The streams may have stopped anywhere, so nothing may follow. An abort that came first wins.
  links_->Abort(Status(status.code(), Describe(*task.bucket) + ": " + status.message())
                    .Blame(status.blamed_rank()));
  return links_->aborted();
}

}  // namespace rueda::backends
