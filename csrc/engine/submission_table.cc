#include "engine/submission_table.h"

#include <algorithm>
#include <iterator>
#include <new>
#include <numeric>
#include <utility>

#include "control/words.h"

namespace rueda::engine {

namespace {

constexpr size_t kResultAlignment = 64;  // as PyTorch's own tensors

// Not zeroed: the backend writes every byte.
std::shared_ptr<uint8_t[]> NewResult(int64_t bytes) {
  const auto alignment = static_cast<std::align_val_t>(kResultAlignment);
  auto* data = static_cast<uint8_t*>(::operator new[](static_cast<size_t>(bytes), alignment));
  return {data, [alignment](uint8_t* memory) { ::operator delete[](memory, alignment); }};
}

// Rows that this rank gets, by the member they come from; one entry for a reducescatter.
std::vector<int64_t> RowsFor(const control::Request& request, size_t tensor,
                             const control::Response& response, const Place& place) {
  if (request.kind == OpKind::kReducescatter) {
    return {control::ScatteredRows(request.tensors[tensor].shape[0], place.members)[place.member]};
  }
  const std::vector<int64_t>& dims = response.first_dims[tensor];
  if (request.kind == OpKind::kAllgather) return dims;
  if (request.kind == OpKind::kGather) {
    return place.rank == request.root ? dims : std::vector<int64_t>(place.members, 0);
  }
  std::vector<int64_t> rows;
  for (size_t from = 0; from < place.members; ++from) {
    rows.push_back(dims[from * place.members + place.member]);
  }
  return rows;
}

int64_t CountFor(const Bucket& bucket, const Place& place) {
  const auto [rank, member, members] = place;
  if (bucket.kind == OpKind::kReducescatter) return bucket.counts[member];
  if (bucket.kind == OpKind::kAllgather) {
    return std::accumulate(bucket.counts.begin(), bucket.counts.end(), int64_t{0});
  }
  int64_t count = 0;
  for (size_t from = 0; from < members; ++from) count += bucket.counts[from * members + member];
  return count;
}

}  // namespace

TensorView Work::AllocateResult(size_t tensor, const Bucket& bucket,
                                const control::Response& response, const Place& place) {
  const control::Request& request = *submission.request;
  const int64_t count = CountFor(bucket, place);
  results.resize(request.tensors.size());
  OwnedResult& result = results[tensor];
  result.bytes = count * static_cast<int64_t>(SizeOf(bucket.dtype));
  result.data = NewResult(result.bytes);
  result.first_dims = RowsFor(request, tensor, response, place);
  return {result.data.get(), count, bucket.dtype};
}

Status SubmissionTable::CheckNotRemoving(uint32_t process_set) const {
  if (std::find(removing_.begin(), removing_.end(), process_set) == removing_.end()) return {};
  return {StatusCode::kInvalidArgument,
          "process set " + std::to_string(process_set) + " is being removed"};
}

Result<TicketPtr> SubmissionTable::Add(Submission submission) {
  auto work = std::make_shared<Work>();
  work->submission = std::move(submission);
  if (work->submission.request->kind == OpKind::kJoin) work->ticket.TakesLong();
  if (tracer_.on()) tracer_.Submitted(work.get(), tracer_.Now());
  Wakes wakes = Wakes::kNobody;
  {
    std::lock_guard lock(mutex_);
    RUEDA_RETURN_IF_ERROR(Insert(work));
    added_.push_back(work.get());
    wakes = WakesFor(work->submission);
    has_new_.store(true, std::memory_order_release);
  }
  if (work->submission.urgent && !wants_haste_.exchange(true, std::memory_order_acq_rel)) {
    wakes = Wakes::kEngine;
  }
  if (!work->submission.driven && engine_ != nullptr) {
    if (wakes == Wakes::kEngine) engine_->Unpark();
    if (wakes == Wakes::kEngineUnlessItLooks) engine_->UnparkUnlessItLooks();
  }
  Ticket* const ticket = &work->ticket;
  return TicketPtr(std::move(work), ticket);
}

SubmissionTable::Wakes SubmissionTable::WakesFor(const Submission& submission) {
  const bool sleeps = std::exchange(engine_sleeps_, false);
  if (clock_ == nullptr || submission.urgent) return sleeps ? Wakes::kEngine : Wakes::kNobody;
  if (sleeps) {
    foresight_.Begins(clock_->Now());
    has_burst_.store(true, std::memory_order_relaxed);
  }
  foresight_.Submitted();
  if (!sleeps) return Wakes::kNobody;
  return foresight_.expects_a_wait() ? Wakes::kEngineUnlessItLooks : Wakes::kEngine;
}

// Relaxed: who submitted knows, and who waits for what another thread submitted may be late.
void SubmissionTable::Waits() {
  if (!has_burst_.exchange(false, std::memory_order_relaxed)) return;
  std::lock_guard lock(mutex_);
  foresight_.Waits(clock_->Now());
}

Status SubmissionTable::Insert(const std::shared_ptr<Work>& work) {
  if (!closed_.ok()) return closed_;
  const control::Request& request = *work->submission.request;
  RUEDA_RETURN_IF_ERROR(CheckNotRemoving(request.process_set));
  const control::OfferKeyView key = KeyOf(request);
  if (const auto known = in_flight_.find(key); known != in_flight_.end()) {
    return {StatusCode::kDuplicateName,
            "'" + request.name + "' is already in flight on this rank, as " +
                std::string(NameOf(known->second->submission.request->kind)) +
                ": wait for it first, or give the second one another name"};
  }
  spare_.Insert(&in_flight_, key, work);
  if (request.kind == OpKind::kRemoveProcessSet) {
    removing_.push_back(static_cast<uint32_t>(request.parts.front()));
  }
  return Status::Ok();
}

std::shared_ptr<Work> SubmissionTable::Remove(const Work& work) {
  const control::Request& request = *work.submission.request;
  if (request.kind == OpKind::kRemoveProcessSet) {
    std::erase(removing_, static_cast<uint32_t>(request.parts.front()));
  }
  return *spare_.Take(&in_flight_, KeyOf(request));
}

void SubmissionTable::TakeNew(std::vector<Work*>* taken, AndThen and_then) {
  std::lock_guard lock(mutex_);
  taken->insert(taken->end(), added_.begin(), added_.end());
  added_.clear();
  has_new_.store(false, std::memory_order_relaxed);
  engine_sleeps_ = and_then == AndThen::kSleeps;
}

Work* SubmissionTable::Find(control::OfferKeyView key) {
  std::lock_guard lock(mutex_);
  const auto found = in_flight_.find(key);
  return found == in_flight_.end() ? nullptr : found->second.get();
}

void SubmissionTable::Complete(Work* work, const Status& status) {
  work->failure = status;
  Complete({&work, 1});
}

void SubmissionTable::Complete(std::span<Work* const> works) {
  {
    std::lock_guard lock(mutex_);
    for (const Work* work : works) finished_.push_back(Remove(*work));
  }
  // Outside the lock, and the names are free before anybody can see a ticket done.
  std::erase_if(finished_, [this](const auto& work) { return !Settle(*work, work->failure); });
  for (const auto& work : finished_) work->ticket.WakeSleepers();
  finished_.clear();
}

bool SubmissionTable::Settle(Work& work, Status status) const {
  if (tracer_.on()) tracer_.Completed(work, status);
  tracer_.CountEnded(work);
  work.submission.keep_alive.reset();
  return work.ticket.Settle(std::move(status), std::move(work.results), work.number);
}

SubmissionTable::Glance SubmissionTable::SomeInFlight(size_t most) {
  std::lock_guard lock(mutex_);
  Glance glance{in_flight_.size(), {}};
  for (const auto& [key, work] : in_flight_) {
    if (glance.some.size() == most) break;
    glance.some.push_back(control::Subject(work->submission.request->kind, key.name));
  }
  return glance;
}

void SubmissionTable::Close(const Status& why) {
  std::lock_guard lock(mutex_);
  if (closed_.ok()) closed_ = why;
}

void SubmissionTable::CompleteUnagreed(const Status& why) {
  InFlight unagreed;
  {
    std::lock_guard lock(mutex_);
    for (auto it = in_flight_.begin(); it != in_flight_.end();) {
      const auto next = std::next(it);
      if (!it->second->agreed) unagreed.insert(in_flight_.extract(it));
      it = next;
    }
    added_.clear();
  }
  CompleteEach(&unagreed, why);
}

void SubmissionTable::CompleteAll(const Status& why) {
  InFlight left;
  {
    std::lock_guard lock(mutex_);
    left.swap(in_flight_);
    added_.clear();
  }
  CompleteEach(&left, why);
}

void SubmissionTable::CompleteEach(InFlight* works, const Status& why) {
  for (auto& [key, work] : *works) {
    // The same words on every rank that had this in flight.
    const std::string kind(NameOf(work->submission.request->kind));
    const bool is_sentence = why.message().ends_with('.') || why.message().ends_with('?');
    Status status(why.code(), why.message() + (is_sentence ? "" : ".") + " This ended " + kind +
                                  " '" + std::string(key.name) + "'.");
    status.Blame(why.blamed_rank());
    if (Settle(*work, std::move(status))) work->ticket.WakeSleepers();
  }
}

}  // namespace rueda::engine
