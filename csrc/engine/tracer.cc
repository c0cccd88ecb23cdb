#include "engine/tracer.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "control/messages.h"
#include "engine/executor.h"
#include "engine/submission_table.h"
#include "engine/wait_tracer.h"

namespace rueda::engine {
namespace {

int32_t ThisThread() {
  thread_local const auto thread = static_cast<int32_t>(::syscall(SYS_gettid));
  return thread;
}

int64_t BytesOf(const BucketBuffers& buffers) {
  size_t bytes = 0;
  for (const TensorView& view : buffers.inputs.empty() ? buffers.outputs : buffers.inputs) {
    bytes += view.bytes();
  }
  return static_cast<int64_t>(bytes);
}

}  // namespace

bool WaitTracer::IsRecording() const { return recorder_->on(); }

int64_t WaitTracer::Now() const { return recorder_->Now(); }

void WaitTracer::Waited(int64_t begun) const {
  recorder_->Record(timeline::WaitSpan{ThisThread(), begun, recorder_->Now(), request_->name});
}

void CopyTracer::Copied(backends::CopyWay way, int64_t bytes, TimePoint begun) {
  const int64_t from = begun.time_since_epoch().count();
  recorder_->Record(
      timeline::CopySpan{way == backends::CopyWay::kOut, bytes, from, recorder_->Now()});
}

void Tracer::CountEnded(const Work& work) const {
  if (recorder_ != nullptr && work.agreed) recorder_->CountEnded();
}

void Tracer::Submitted(Work* work, int64_t at) const {
  work->times.submitted = at;
  work->ticket.Trace({recorder_, work->submission.request});
}

void Tracer::Offered(const std::vector<Work*>& works) const {
  const int64_t now = Now();
  for (Work* work : works) work->times.offered = now;
}

void Tracer::TookFrame(const control::Frame& frame) {
  frame_ = frame.number;
  frame_at_ = Now();
  if (!recorder_->marks_frames()) return;
  const auto responses = static_cast<uint32_t>(frame.cached.count() + frame.responses.size());
  recorder_->Record(timeline::FrameMark{frame.number, responses, frame_at_});
}

void Tracer::Agreed(Work* work, const control::Arrival& arrival) const {
  work->times.agreed = frame_at_;
  work->times.frame = frame_;
  work->times.last_rank = arrival.last_offerer;
  work->times.spread = arrival.spread.count();
}

void Tracer::Began(const BucketJob& job, int64_t at) const {
  for (Work* work : job.touches) {
    if (work->times.begun != 0) continue;
    work->times.begun = at;
    work->times.bucket = job.number;
  }
}

void Tracer::Ended(const BucketJob& job, int64_t begun, const Status& status) const {
  const Bucket& bucket = job.planned->bucket;
  timeline::BucketSpan span;
  span.kind = bucket.kind;
  span.dtype = bucket.dtype;
  span.in_place = bucket.in_place();
  span.absent = job.touches.empty();
  span.error = static_cast<int32_t>(status.code());
  span.process_set = bucket.process_set;
  span.tensors = static_cast<uint32_t>(job.planned->slices.size());
  span.bytes = BytesOf(job.buffers);
  span.frame = job.frame;
  span.bucket = job.number;
  span.begun = begun;
  span.done = Now();
  span.name = job.touches.empty() ? std::string_view(job.description)
                                  : job.touches.front()->submission.request->name;
  recorder_->Record(span);
  if (!status.ok()) return;  // what it held ends when its ticket does
  for (Work* work : job.completes) work->times.done = span.done;
}

void Tracer::Completed(const Work& work, const Status& status) const {
  const control::Request& request = *work.submission.request;
  timeline::RequestSpan span;
  span.kind = request.kind;
  span.error = static_cast<int32_t>(status.code());
  span.process_set = request.process_set;
  span.tensors = static_cast<uint32_t>(request.tensors.size());
  span.bytes = BytesOf(work.submission.buffers);
  span.frame = work.times.frame;
  span.bucket = work.times.bucket;
  const auto seen = [started = recorder_->started()](int64_t at) { return at < started ? 0 : at; };
  span.submitted = seen(work.times.submitted);
  span.offered = seen(work.times.offered);
  span.agreed = seen(work.times.agreed);
  span.begun = seen(work.times.begun);
  span.done = work.times.done != 0 ? work.times.done : Now();
  span.last_rank = work.times.last_rank;
  span.spread = work.times.spread;
  span.name = request.name;
  recorder_->Record(span);
}

}  // namespace rueda::engine
