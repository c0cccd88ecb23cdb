#include "backends/gloo/plugin/gloo_backend.h"

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

Result<std::unique_ptr<Backend>> GlooBackend::Make(GlooParts parts) {
  Result<std::unique_ptr<PeerLinks>> links =
      PeerLinks::Make(std::move(parts.topology), std::move(parts.channels));
  if (!links.ok()) return links.status();
  return std::unique_ptr<Backend>(
      new GlooBackend(std::move(*links), std::move(parts.wake), parts.run_timeout));
}

GlooBackend::GlooBackend(std::unique_ptr<PeerLinks> links, WakeFunction wake, Duration run_timeout)
    : links_(std::move(links)),
      collectives_(*links_),
      wake_(std::move(wake)),
      run_timeout_(run_timeout),
      run_(*links_) {}

GlooBackend::~GlooBackend() {
  Abort({StatusCode::kShutDown, "the gloo backend was shut down"});
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  // Bounded: the abort ends what the thread waits for, and a copy after one chunk.
  if (thread_.joinable()) thread_.join();
}

Status GlooBackend::Supports(const Bucket& bucket) const {
  return GlooCollectives::Supports(bucket, links_->topology().size);
}

Result<Run*> GlooBackend::Begin(const Bucket& bucket, const BucketBuffers& buffers) {
  RUEDA_RETURN_IF_ERROR(links_->aborted());
  if (run_.running.load(std::memory_order_acquire)) {
    return Status(StatusCode::kInvalidArgument,
                  Describe(bucket) + " began before " + Describe(*run_.bucket) + " was finished");
  }
  if (!thread_.joinable()) RUEDA_RETURN_IF_ERROR(StartThread());
  run_.bucket = &bucket;
  run_.buffers = &buffers;
  run_.running.store(true, std::memory_order_relaxed);  // the mutex publishes it
  {
    const std::lock_guard lock(mutex_);
    begun_ = true;
  }
  changed_.notify_one();
  return &run_;
}

void GlooBackend::Abort(const Status& why) { links_->Abort(why); }

Status GlooBackend::StartThread() {
  const transport::SignalsBlocked blocked;
  try {
    thread_ = std::thread(&GlooBackend::Serve, this);
  } catch (const std::system_error& error) {
    return SystemError("starting the thread of the gloo backend", error.code().value());
  }
  return Status::Ok();
}

void GlooBackend::Serve() {
  transport::NameThisThread("rueda-gloo");
  device::UseDefaultFloatingPointMode();
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return begun_ || stopping_; });
    if (stopping_) return;
    begun_ = false;
    lock.unlock();
    run_.result = Execute(*run_.bucket, *run_.buffers);
    run_.running.store(false, std::memory_order_release);
    if (wake_) wake_();
    lock.lock();
  }
}

Status GlooBackend::Execute(const Bucket& bucket, const BucketBuffers& buffers) {
  links_->StartRun(run_timeout_);
  Status status = collectives_.Run(bucket, buffers);
  if (status.ok()) return status;
  // The streams may have stopped anywhere, so nothing may follow. An abort that came first wins.
  links_->Abort(Status(status.code(), Describe(bucket) + ": " + status.message())
                    .Blame(status.blamed_rank()));
  return links_->aborted();
}

Result<Progress> GlooBackend::BucketRun::Step() {
  if (running.load(std::memory_order_acquire)) return Progress::kWaiting;
  if (!result.ok()) return result;
  return Progress::kDone;
}

}  // namespace rueda::backends
