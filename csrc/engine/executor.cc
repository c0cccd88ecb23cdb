#include "engine/executor.h"

#include <utility>

#include "core/text.h"

namespace rueda::engine {

void Executor::Enqueue(BucketJob job, Duration run_timeout) {
  queue_.push_back({std::move(job), run_timeout});
}

Result<bool> Executor::Step() {
  if (queue_.empty()) return false;
  if (run_ == nullptr) {
    // What the backend cannot do it cannot do on any rank: that answer is the work's own (I3).
    const Status supported = backend_->Supports(queue_.front().job.planned.bucket);
    if (!supported.ok()) {
      Finish(supported);
      return true;
    }
    RUEDA_RETURN_IF_ERROR(Begin());
  }
  Result<backends::Progress> progress = run_->Step();
  if (!progress.ok()) return progress.status();
  if (*progress == backends::Progress::kDone) Finish(Status::Ok());
  if (*progress != backends::Progress::kWaiting) return true;
  RUEDA_RETURN_IF_ERROR(CheckDeadline());
  return false;
}

Status Executor::Begin() {
  const Queued& next = queue_.front();
  Result<backends::Run*> run = backend_->Begin(next.job.planned.bucket, next.job.buffers);
  if (!run.ok()) return run.status();
  run_ = *run;
  deadline_ = clock_->Now() + next.run_timeout;
  return Status::Ok();
}

Status Executor::CheckDeadline() const {
  if (clock_->Now() < deadline_) return Status::Ok();
  const Queued& running = queue_.front();
  std::string text = running.job.description + " ran longer than " +
                     FormatSeconds(std::chrono::duration<double>(running.run_timeout).count()) +
                     " s (RUEDA_TIMEOUT_SECONDS)";
  const std::vector<int> missing = run_->WaitsFor();
  for (size_t i = 0; i < missing.size(); ++i) {
    text += (i == 0 ? "; still waiting for " : ", ") + topology_->Describe(missing[i]);
  }
  text += ". Is that process stopped, or its host overloaded?";
  Status status(StatusCode::kTimedOut, text);
  // Of several, all but one may wait themselves: a ring's members do.
  return missing.size() == 1 ? status.Blame(missing.front()) : status;
}

void Executor::Finish(const Status& status) {
  run_ = nullptr;
  deadline_ = kNever;
  const Queued done = std::move(queue_.front());
  queue_.pop_front();
  // A work that lost a part is not saved by its other parts.
  if (!status.ok()) {
    for (Work* work : done.job.touches) work->failure = status;
  }
  for (Work* work : done.job.completes) {
    const Status answer = work->failure;  // outlives the work
    table_->Complete(work, answer);
  }
}

}  // namespace rueda::engine
