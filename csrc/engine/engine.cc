#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>

#include "control/planner.h"
#include "control/slot_table.h"
#include "device/reduce.h"
#include "engine/control_road.h"
#include "engine/executor.h"
#include "engine/submission_table.h"
#include "transport/thread_setup.h"
#include "transport/waiter.h"

namespace rueda::engine {
namespace {

// How long Stop, or the end after an error, waits for peers to leave this rank's memory.
constexpr Duration kLeaveGrace = std::chrono::milliseconds(200);
// How long an orderly Stop waits for rank 0's acknowledgement and runs what was agreed before it.
constexpr Duration kDrainLimit = std::chrono::seconds(10);

std::unique_ptr<ControlRoad> MakeControlRoad(EngineParts* parts) {
  if (parts->topology.rank == 0) return MakeControlHost(*parts, std::move(parts->control));
  return MakeControlClient(*parts, std::move(parts->control.front()));
}

}  // namespace

class Engine::Impl {
 public:
  explicit Impl(EngineParts parts)
      : parts_(std::move(parts)),
        road_(MakeControlRoad(&parts_)),
        executor_(&parts_.topology, parts_.backend.get(), &table_, parts_.clock.get()),
        backend_name_(parts_.backend->name()) {}

  void StartThread() {
    transport::SignalsBlocked blocked;
    thread_ = std::thread([this] { Run(); });
  }

  Result<TicketPtr> Submit(Submission submission);
  Ticket::Wake Wait(const TicketPtr& ticket, Duration slice);
  void Stop(const std::string& reason);
  void AbandonInForkedChild();
  Status first_error();

  const std::string& backend_name() const { return backend_name_; }

  EngineParts parts_;
  std::atomic<bool> forked_{false};

 private:
  // The loop: drives until the epoch is over.
  void Run();
  Result<bool> Drive();
  TimePoint NextDeadline() const;

  // The stages of one round. Each says whether it did anything.
  void Collect();
  Result<bool> Offer();
  bool ReadyToOffer() const;
  Status OfferInBatches(const std::vector<Work*>& offered);
  Result<bool> Agree();
  Status Take(const control::Frame& frame);
  Work* WorkOf(const control::Response& response);
  BucketBuffers BuffersOf(const control::PlannedBucket& planned,
                          const std::vector<control::AgreedRequest>& agreed,
                          const std::vector<Work*>& works);
  void Enqueue(const control::PlannedBucket& planned,
               const std::vector<control::AgreedRequest>& agreed, const std::vector<Work*>& works,
               const control::Limits& limits);
  Result<bool> Leave();
  bool HasLeft() const;
  std::string LeftInMidBucket() const;

  // The two ends of an epoch.
  Status CauseOf(const Status& found);
  void End(const Status& why);
  void WaitUntilPeersAreGone();

  std::unique_ptr<ControlRoad> road_;
  SubmissionTable table_;
  Executor executor_;
  control::SlotTable slots_;
  std::vector<Work*> offered_by_slot_;
  std::vector<Work*> collected_;  // taken from the table, not offered yet
  TimePoint linger_until_ = kNever;
  bool leave_offered_ = false, leave_acknowledged_ = false;
  TimePoint drain_until_ = kNever;

  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::string stop_reason_;  // guarded by mutex_
  Status first_error_;       // guarded by mutex_
  std::mutex join_mutex_;    // one Stop at a time
  std::thread thread_;       // guarded by join_mutex_ after the start
  const std::string backend_name_;
};

Result<TicketPtr> Engine::Impl::Submit(Submission submission) {
  if (forked_.load(std::memory_order_relaxed)) {
    return Status(StatusCode::kForked,
                  "this process was forked from a rank of a rueda job (a DataLoader worker?) and is "
                  "no rank itself; call collectives in the parent");
  }
  RUEDA_RETURN_IF_ERROR(control::CheckRequest(*submission.request));
  Result<TicketPtr> ticket = table_.Add(std::move(submission));
  if (ticket.ok()) parts_.parker->Unpark();
  return ticket;
}

Ticket::Wake Engine::Impl::Wait(const TicketPtr& ticket, Duration slice) {
  if (ticket->done()) return Ticket::Wake::kDone;
  table_.Hurry();
  parts_.parker->Unpark();
  return ticket->Wait(slice);
}

void Engine::Impl::Run() {
  transport::NameThisThread("rueda-engine");
  device::UseDefaultFloatingPointMode();
  transport::Waiter waiter;
  while (true) {
    Result<bool> moved = Drive();
    if (moved.ok() && !*moved && waiter.Step()) {
      // Only now the doorbell is looked at: its line stays with the ringers while this thread spins.
      const uint32_t seen = parts_.parker->Sequence();
      moved = Drive();
      if (moved.ok() && !*moved && !HasLeft()) {
        parts_.parker->Park(seen, NextDeadline());
        waiter.Reset();
      }
    }
    if (!moved.ok()) return End(CauseOf(moved.status()));
    if (*moved) waiter.Reset();
    if (HasLeft()) return End(Status::Ok());
  }
}

bool Engine::Impl::HasLeft() const {
  if (!leave_acknowledged_ || !executor_.idle()) return false;
  return road_->Flushed() || parts_.clock->Now() >= drain_until_;
}

Result<bool> Engine::Impl::Drive() {
  if (parts_.membership != nullptr) RUEDA_RETURN_IF_ERROR(parts_.membership->Check());
  bool moved = false;
  if (table_.has_new()) Collect();
  for (auto stage : {&Impl::Offer, &Impl::Agree, &Impl::Leave}) {
    Result<bool> did = (this->*stage)();
    if (!did.ok()) return did.status();
    moved |= *did;
  }
  Result<bool> stepped = executor_.Step();
  if (!stepped.ok()) return stepped.status();
  return moved || *stepped;
}

TimePoint Engine::Impl::NextDeadline() const {
  const TimePoint linger = collected_.empty() || leave_offered_ ? kNever : linger_until_;
  return std::min({executor_.deadline(), road_->NextDeadline(), linger, drain_until_});
}

void Engine::Impl::Collect() {
  if (collected_.empty()) linger_until_ = parts_.clock->Now() + parts_.linger;
  table_.TakeNew(&collected_);
}

bool Engine::Impl::ReadyToOffer() const {
  if (collected_.empty() || leave_offered_) return false;
  return table_.wants_haste() || parts_.clock->Now() >= linger_until_;
}

Result<bool> Engine::Impl::Offer() {
  if (!ReadyToOffer()) return false;
  // Cleared before looking once more, so that no wish for haste is lost.
  table_.CalmDown();
  table_.TakeNew(&collected_);
  const std::vector<Work*> offered = std::exchange(collected_, {});
  if (!road_->closed()) RUEDA_RETURN_IF_ERROR(OfferInBatches(offered));
  if (road_->closed()) table_.CompleteUnagreed(*road_->closed());
  return true;
}

Status Engine::Impl::OfferInBatches(const std::vector<Work*>& offered) {
  control::Batch batch;
  size_t bytes = 0;
  for (Work* work : offered) {
    const auto& request = work->submission.request;
    const uint32_t slot = request->transient ? control::kNoSlot : slots_.Find(request);
    if (slot != control::kNoSlot) {
      batch.slots.push_back(slot);
      if (offered_by_slot_.size() <= slot) offered_by_slot_.resize(slot + 1);
      offered_by_slot_[slot] = work;
      continue;
    }
    bytes += control::EncodedBytes(*request);
    if (bytes > control::kMaxBatchRequestBytes) {
      RUEDA_RETURN_IF_ERROR(road_->Offer(std::exchange(batch, {})));
      bytes = control::EncodedBytes(*request);
    }
    batch.requests.push_back(*request);
  }
  return road_->Offer(batch);
}

Result<bool> Engine::Impl::Agree() {
  const bool was_closed = road_->closed().has_value();
  Result<bool> moved = road_->Poll();
  if (!moved.ok()) return moved.status();
  while (std::optional<control::Frame> frame = road_->TakeFrame()) {
    RUEDA_RETURN_IF_ERROR(Take(*frame));
    *moved = true;
  }
  // The coordinator left: what it agreed before still runs, nothing else ever will.
  if (!was_closed && road_->closed()) {
    collected_.clear();
    table_.CompleteUnagreed(*road_->closed());
  }
  return moved;
}

Work* Engine::Impl::WorkOf(const control::Response& response) {
  if (!response.cached) return table_.Find(response.name);
  return response.slot < offered_by_slot_.size() ? offered_by_slot_[response.slot] : nullptr;
}

Status Engine::Impl::Take(const control::Frame& frame) {
  std::vector<control::AgreedRequest> agreed;
  std::vector<Work*> works;
  for (const control::Response& response : frame.responses) {
    const bool mine = response.only_rank < 0 || response.only_rank == parts_.topology.rank;
    if (response.error.code() == StatusCode::kShutDown && response.only_rank >= 0) {
      leave_acknowledged_ |= mine;
      continue;
    }
    // Ranks that withhold a tensor for so long will not be waited for: the job ends.
    if (mine && response.error.code() == StatusCode::kStalled) return response.error;
    Work* work = mine ? WorkOf(response) : nullptr;
    if (work == nullptr) {
      if (!response.error.ok()) continue;  // an error for those who offered it
      return {StatusCode::kCorrupt, "frame " + std::to_string(frame.number) + " agrees on '" +
                                        response.name + "', which this rank did not offer"};
    }
    const auto& request = work->submission.request;
    if (!response.cached) slots_.Learn(request, response);
    if (!response.error.ok()) {
      table_.Complete(work, response.error);
      continue;
    }
    work->agreed = true;
    agreed.push_back({request.get(), response.cached ? slots_.Agreed(response.slot) : &response});
    works.push_back(work);
  }
  for (const control::PlannedBucket& planned :
       control::Plan(agreed, parts_.topology.size, frame.limits)) {
    Enqueue(planned, agreed, works, frame.limits);
  }
  return Status::Ok();
}

BucketBuffers Engine::Impl::BuffersOf(const control::PlannedBucket& planned,
                                      const std::vector<control::AgreedRequest>& agreed,
                                      const std::vector<Work*>& works) {
  const Bucket& bucket = planned.bucket;
  BucketBuffers buffers;
  if (bucket.in_place()) {
    // One span, the padding between tensors included, as it lies in every rank's arena.
    const auto own = static_cast<size_t>(parts_.topology.rank);
    buffers.inputs.push_back(
        {parts_.heap->At(bucket.placements[own]), bucket.counts.front(), bucket.dtype});
    buffers.outputs = buffers.inputs;
    return buffers;
  }
  for (const control::BucketSlice& slice : planned.slices) {
    Work* work = works[slice.agreed];
    const BucketBuffers& offered = work->submission.buffers;
    buffers.inputs.push_back(offered.inputs[slice.tensor]);
    buffers.outputs.push_back(
        bucket.kind == OpKind::kAllgather
            ? work->AllocateResult(slice.tensor, bucket, *agreed[slice.agreed].response)
            : offered.outputs[slice.tensor]);
  }
  return buffers;
}

void Engine::Impl::Enqueue(const control::PlannedBucket& planned,
                           const std::vector<control::AgreedRequest>& agreed,
                           const std::vector<Work*>& works, const control::Limits& limits) {
  BucketJob job;
  job.planned = planned;
  job.buffers = BuffersOf(planned, agreed, works);
  for (size_t index : planned.completes) job.completes.push_back(works[index]);
  const size_t named = planned.slices.empty() ? planned.completes.front() : planned.slices.front().agreed;
  const control::Request& request = *agreed[named].request;
  job.description = std::string(NameOf(request.kind)) + " '" + request.name + "'";
  executor_.Enqueue(std::move(job), limits.run_timeout);
}

Result<bool> Engine::Impl::Leave() {
  if (!stopping_.load(std::memory_order_acquire)) return false;
  if (!leave_offered_) {
    leave_offered_ = true;
    drain_until_ = parts_.clock->Now() + kDrainLimit;
    control::Batch batch;
    {
      std::lock_guard lock(mutex_);
      batch.leave_reason = stop_reason_;
    }
    if (!road_->closed()) RUEDA_RETURN_IF_ERROR(road_->Offer(batch));
    return true;
  }
  if (parts_.clock->Now() >= drain_until_) {
    // A rank 0 that does not answer is left all the same; peers in a bucket must hear of it.
    if (!executor_.idle()) return Status(StatusCode::kShutDown, LeftInMidBucket());
    return !std::exchange(leave_acknowledged_, true);
  }
  if (!road_->closed()) return false;
  return !std::exchange(leave_acknowledged_, true);
}

std::string Engine::Impl::LeftInMidBucket() const {
  return parts_.topology.Describe(parts_.topology.rank) +
         " was shut down while a bucket ran that did not end within " +
         std::to_string(std::chrono::duration_cast<std::chrono::seconds>(kDrainLimit).count()) +
         " s. Wait for asynchronous work before shutdown().";
}

Status Engine::Impl::CauseOf(const Status& found) {
  // A victim closes its connections, too, and a rank that was stopped finds its own time over when it
  // goes on: what the others have said of their end meanwhile names the cause.
  if (found.code() != StatusCode::kPeerLost && found.code() != StatusCode::kTimedOut) return found;
  const Status told =
      parts_.membership != nullptr ? parts_.membership->Check() : road_->Poll().status();
  return told.ok() ? found : told;
}

void Engine::Impl::End(const Status& why) {
  std::string reason;
  {
    std::lock_guard lock(mutex_);
    first_error_ = why;
    reason = stop_reason_;
  }
  const Status answer =
      why.ok() ? Status(StatusCode::kShutDown, parts_.topology.Describe(parts_.topology.rank) +
                                                   " shut rueda down with work in flight.")
               : why;
  table_.Close(answer);
  parts_.backend->Abort(answer);
  // Peers hear why before any connection closes, so that nobody blames this rank for another's death.
  road_->Farewell(why, reason);
  if (parts_.membership != nullptr) {
    why.ok() ? parts_.membership->AnnounceLeft() : parts_.membership->AnnounceFailure(why);
  }
  // Its thread, if it has one, ends here: nothing touches tensors once their tickets complete (I4).
  parts_.backend.reset();
  if (!why.ok() && parts_.membership != nullptr) WaitUntilPeersAreGone();
  table_.CompleteAll(answer);
}

void Engine::Impl::WaitUntilPeersAreGone() {
  const TimePoint limit = parts_.clock->Now() + kLeaveGrace;
  while (true) {
    const uint32_t seen = parts_.parker->Sequence();
    if (parts_.membership->EveryoneGone()) return;
    if (parts_.clock->Now() >= limit) break;
    parts_.parker->Park(seen, limit);
  }
  // A peer that hangs in the middle of a bucket may write into ours at any later time.
  if (parts_.heap != nullptr) parts_.heap->Sever();
}

void Engine::Impl::Stop(const std::string& reason) {
  std::lock_guard joining(join_mutex_);
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stop_reason_ = reason;
  }
  stopping_.store(true, std::memory_order_release);
  parts_.parker->Unpark();
  thread_.join();
  // I5: the watcher ends, peers' memory is unmapped, and the own memory becomes private, so
  // that views of it outlive the epoch and a late Unpark still finds its doorbell.
  parts_.membership.reset();
  road_.reset();
  if (parts_.heap != nullptr) parts_.heap->Sever();
  parts_.mappings.clear();
  parts_.abandon_in_forked_child.clear();
}

void Engine::Impl::AbandonInForkedChild() {
  forked_.store(true, std::memory_order_relaxed);
  if (parts_.membership != nullptr) parts_.membership->AbandonInForkedChild();
  for (const auto& abandon : parts_.abandon_in_forked_child) abandon();
}

Status Engine::Impl::first_error() {
  std::lock_guard lock(mutex_);
  return first_error_;
}

std::unique_ptr<Engine> Engine::Start(EngineParts parts) {
  auto impl = std::make_unique<Impl>(std::move(parts));
  impl->StartThread();
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() {
  if (impl_->forked_.load(std::memory_order_relaxed)) {
    // Its thread lives in the parent: there is nothing to join and nothing that may be destroyed.
    [[maybe_unused]] Impl* left_to_the_exit = impl_.release();
    return;
  }
  Stop();
}

Result<TicketPtr> Engine::Submit(Submission submission) { return impl_->Submit(std::move(submission)); }
Ticket::Wake Engine::Wait(const TicketPtr& ticket, Duration slice) { return impl_->Wait(ticket, slice); }
Result<std::shared_ptr<transport::ArenaBuffer>> Engine::Allocate(int64_t bytes) {
  if (impl_->parts_.heap == nullptr) {
    return Status(StatusCode::kUnsupported, "the ranks of this job share no memory");
  }
  return impl_->parts_.heap->Allocate(bytes);
}
void Engine::Stop(const std::string& reason) { impl_->Stop(reason); }
void Engine::AbandonInForkedChild() { impl_->AbandonInForkedChild(); }
const Topology& Engine::topology() const { return impl_->parts_.topology; }
std::string Engine::backend_name() const { return impl_->backend_name(); }
Status Engine::first_error() const { return impl_->first_error(); }

}  // namespace rueda::engine
