#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>

#include "engine/epoch_loop.h"
#include "engine/submission_table.h"
#include "engine/timeline.h"
#include "transport/thread_setup.h"

namespace rueda::engine {

class Engine::Impl {
 public:
  explicit Impl(EngineParts parts)
      : parts_(std::move(parts)),
        backend_name_(parts_.backend->name()),
        split_bytes_(parts_.backend->SplitBytes()),
        recorder_(std::make_shared<timeline::Recorder>(parts_.clock)),
        timeline_(AddTimeline(&parts_, recorder_)),
        copies_(recorder_),
        table_(Tracer(recorder_), parts_.parker.get(), parts_.clock.get()),
        loop_(MakeLoop()) {}

  void StartThread() {
    transport::SignalsBlocked blocked;
    thread_ = std::thread([this] {
      loop_->Run();
      timeline_->EpochEnded();
    });
  }

  Result<TicketPtr> Submit(Submission submission);
  void Drive(const TicketPtr& ticket, Duration slice);
  void Hurry(const Ticket& ticket);
  Ticket::Wake Wait(const TicketPtr& ticket, Duration slice);
  void Stop(const std::string& reason);
  Status StartTimeline(const std::string& path, bool mark_frames);
  Status StopTimeline();
  void AbandonInForkedChild();

  const EngineParts& parts() const { return parts_; }
  const std::string& backend_name() const { return backend_name_; }
  Status first_error() { return loop_->first_error(); }
  bool forked() const { return forked_.load(std::memory_order_relaxed); }

 private:
  EpochLoop::Driven DriveOrHurry(const Ticket& ticket, Duration slice);
  Status PlaceNewSet(Submission* submission) const;
  std::unique_ptr<EpochLoop> MakeLoop();
  Status CheckNotForked(const std::string& what) const;
  static Timeline* AddTimeline(EngineParts* parts, std::shared_ptr<timeline::Recorder> recorder);

  EngineParts parts_;
  const std::string backend_name_;
  const int64_t split_bytes_;
  const std::shared_ptr<timeline::Recorder> recorder_;
  Timeline* const timeline_;  // the loop's
  CopyTracer copies_;         // the backend's
  SubmissionTable table_;
  std::unique_ptr<EpochLoop> loop_;
  std::atomic<bool> forked_{false};
  std::mutex join_mutex_;  // one Stop at a time
  std::thread thread_;     // guarded by join_mutex_ after the start
};

Timeline* Engine::Impl::AddTimeline(EngineParts* parts,
                                    std::shared_ptr<timeline::Recorder> recorder) {
  parts->listeners.push_back(MakeTimeline(*parts, std::move(recorder)));
  return static_cast<Timeline*>(parts->listeners.back().get());
}

std::unique_ptr<EpochLoop> Engine::Impl::MakeLoop() {
  parts_.backend->Observe(&copies_);
  return std::make_unique<EpochLoop>(&parts_, &table_);
}

Status Engine::Impl::CheckNotForked(const std::string& what) const {
  if (!forked()) return Status::Ok();
  return {StatusCode::kForked,
          "this process was forked from a rank of a rueda job (a DataLoader worker?) and is no "
          "rank itself; " +
              what + " in the parent"};
}

Status Engine::Impl::StartTimeline(const std::string& path, bool mark_frames) {
  RUEDA_RETURN_IF_ERROR(CheckNotForked("start a timeline"));
  return timeline_->Start(path, mark_frames);
}

Status Engine::Impl::StopTimeline() {
  RUEDA_RETURN_IF_ERROR(CheckNotForked("stop the timeline"));
  return timeline_->Stop();
}

// A member of a new process set offers the memory that the set's backend will use here.
Status Engine::Impl::PlaceNewSet(Submission* submission) const {
  const std::vector<int64_t>& ranks = submission->request->parts;
  const bool member = std::find(ranks.begin(), ranks.end(), parts_.topology.rank) != ranks.end();
  if (!member || split_bytes_ == 0 || parts_.heap == nullptr) return Status::Ok();
  auto memory = parts_.heap->Allocate(split_bytes_);
  if (!memory.ok()) return memory.status();
  auto placed = std::make_shared<control::Request>(*submission->request);
  placed->placement = (*memory)->offset();
  submission->request = std::move(placed);
  submission->keep_alive = std::move(*memory);
  return Status::Ok();
}

Result<TicketPtr> Engine::Impl::Submit(Submission submission) {
  RUEDA_RETURN_IF_ERROR(CheckNotForked("call collectives"));
  const control::Request& request = *submission.request;
  if (!request.notes.checked()) {
    RUEDA_RETURN_IF_ERROR(control::CheckRequest(request));
    request.notes.SetChecked();
  }
  if (request.kind == OpKind::kAddProcessSet) {
    RUEDA_RETURN_IF_ERROR(PlaceNewSet(&submission));
  }
  return table_.Add(std::move(submission));
}

void Engine::Impl::Drive(const TicketPtr& ticket, Duration slice) {
  if (ticket->done() || forked()) return;
  const int64_t begun = ticket->WaitBegins();
  DriveOrHurry(*ticket, slice);
  ticket->WaitEnds(begun);
}

EpochLoop::Driven Engine::Impl::DriveOrHurry(const Ticket& ticket, Duration slice) {
  table_.Waits();
  if (!ticket.offered()) table_.Hurry();
  const EpochLoop::Driven driven = loop_->DriveFor(ticket, slice);
  // Who drives may be about to sleep.
  if (driven == EpochLoop::Driven::kByOthers && !ticket.offered()) parts_.parker->Unpark();
  return driven;
}

void Engine::Impl::Hurry(const Ticket& ticket) {
  if (ticket.offered() || forked()) return;
  table_.Hurry();
  parts_.parker->Unpark();
}

Ticket::Wake Engine::Impl::Wait(const TicketPtr& ticket, Duration slice) {
  if (ticket->done()) return Ticket::Wake::kDone;
  const int64_t begun = ticket->WaitBegins();
  const bool is_over = !forked() && DriveOrHurry(*ticket, slice) == EpochLoop::Driven::kInterrupted;
  const Ticket::Wake wake = is_over ? Ticket::Wake::kInterrupted : ticket->Wait(slice);
  ticket->WaitEnds(begun);
  return wake;
}

void Engine::Impl::Stop(const std::string& reason) {
  std::lock_guard joining(join_mutex_);
  if (!thread_.joinable()) return;
  // While the others still hear this rank. What cannot be written has been warned of.
  (void)timeline_->Stop();
  loop_->RequestStop(reason);
  thread_.join();
  // I5: the watcher ends, peers' memory is unmapped, and the own memory becomes private, so
  // that views of it outlive the epoch and a late Unpark still finds its doorbell.
  parts_.membership.reset();
  if (parts_.heap != nullptr) parts_.heap->Sever();
  parts_.mappings.clear();
  parts_.abandon_in_forked_child.clear();
}

void Engine::Impl::AbandonInForkedChild() {
  forked_.store(true, std::memory_order_relaxed);
  if (parts_.membership != nullptr) parts_.membership->AbandonInForkedChild();
  for (const auto& abandon : parts_.abandon_in_forked_child) abandon();
}

std::unique_ptr<Engine> Engine::Start(EngineParts parts) {
  auto impl = std::make_unique<Impl>(std::move(parts));
  impl->StartThread();
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() {
  if (impl_->forked()) {
    // Its thread lives in the parent: there is nothing to join and nothing that may be destroyed.
    [[maybe_unused]] Impl* left_to_the_exit = impl_.release();
    return;
  }
  Stop();
}

Result<TicketPtr> Engine::Submit(Submission submission) {
  return impl_->Submit(std::move(submission));
}
void Engine::Drive(const TicketPtr& ticket, Duration slice) { impl_->Drive(ticket, slice); }
void Engine::Hurry(const Ticket& ticket) { impl_->Hurry(ticket); }
Ticket::Wake Engine::Wait(const TicketPtr& ticket, Duration slice) {
  return impl_->Wait(ticket, slice);
}
Result<std::shared_ptr<transport::ArenaBuffer>> Engine::Allocate(int64_t bytes) {
  if (impl_->parts().heap == nullptr) {
    return Status(StatusCode::kUnsupported, "the ranks of this job share no memory");
  }
  return impl_->parts().heap->Allocate(bytes);
}
void Engine::Stop(const std::string& reason) { impl_->Stop(reason); }
Status Engine::StartTimeline(const std::string& path, bool mark_frames) {
  return impl_->StartTimeline(path, mark_frames);
}
Status Engine::StopTimeline() { return impl_->StopTimeline(); }
void Engine::AbandonInForkedChild() { impl_->AbandonInForkedChild(); }
const Topology& Engine::topology() const { return impl_->parts().topology; }
std::string Engine::backend_name() const { return impl_->backend_name(); }
Status Engine::first_error() const { return impl_->first_error(); }

}  // namespace rueda::engine
