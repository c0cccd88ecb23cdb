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
  const int64_t submitted = tracer_.on() ? tracer_.Now() : 0;
  std::lock_guard lock(mutex_);
  if (!closed_.ok()) return closed_;
  const control::Request& request = *submission.request;
  RUEDA_RETURN_IF_ERROR(CheckNotRemoving(request.process_set));
  auto [slot, added] = in_flight_.try_emplace(control::OfferKey(KeyOf(request)));
  if (!added) {
    return Status(StatusCode::kDuplicateName,
                  "'" + request.name + "' is already in flight on this rank, as " +
                      std::string(NameOf(slot->second->submission.request->kind)) +
                      ": wait for it first, or give the second one another name");
  }
  slot->second = std::make_unique<Work>();
  Work* work = slot->second.get();
  const bool urgent = submission.urgent;
  if (request.kind == OpKind::kRemoveProcessSet) {
    removing_.push_back(static_cast<uint32_t>(request.parts.front()));
  }
  work->submission = std::move(submission);
  if (submitted != 0) tracer_.Submitted(work, submitted);
  added_.push_back(work);
  has_new_.store(true, std::memory_order_release);
  if (urgent) Hurry();
  return work->ticket;
}

void SubmissionTable::TakeNew(std::vector<Work*>* taken) {
  std::lock_guard lock(mutex_);
  taken->insert(taken->end(), added_.begin(), added_.end());
  added_.clear();
  has_new_.store(false, std::memory_order_relaxed);
}

Work* SubmissionTable::Find(control::OfferKeyView key) {
  std::lock_guard lock(mutex_);
  const auto found = in_flight_.find(key);
  return found == in_flight_.end() ? nullptr : found->second.get();
}

void SubmissionTable::Complete(Work* work, const Status& status) {
  if (tracer_.on()) tracer_.Completed(*work, status);
  tracer_.CountEnded(*work);
  std::unique_ptr<Work> done;
  {
    std::lock_guard lock(mutex_);
    const control::Request& request = *work->submission.request;
    const auto found = in_flight_.find(KeyOf(request));
    done = std::move(found->second);
    in_flight_.erase(found);
    if (request.kind == OpKind::kRemoveProcessSet) {
      std::erase(removing_, static_cast<uint32_t>(request.parts.front()));
    }
  }
  // Outside the lock, and the name is free before anybody can see the ticket done.
  const TicketPtr ticket = done->ticket;
  std::vector<OwnedResult> results = std::move(done->results);
  const int64_t number = done->number;
  done.reset();
  ticket->Complete(status, std::move(results), number);
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
    const TicketPtr ticket = work->ticket;
    // The same words on every rank that had this in flight.
    const std::string kind(NameOf(work->submission.request->kind));
    const std::string stop = why.message().ends_with('.') ? " " : ". ";
    Status status(why.code(), why.message() + stop + "This ended " + kind + " '" + key.name + "'.");
    status.Blame(why.blamed_rank());
    if (tracer_.on()) tracer_.Completed(*work, status);
    tracer_.CountEnded(*work);
    work.reset();
    ticket->Complete(std::move(status));
  }
}

}  // namespace rueda::engine
