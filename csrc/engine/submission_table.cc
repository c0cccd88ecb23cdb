#include "engine/submission_table.h"

#include <iterator>
#include <numeric>
#include <utility>

namespace rueda::engine {

TensorView Work::AllocateResult(size_t tensor, const Bucket& bucket,
                                const control::Response& response) {
  results.resize(submission.request->tensors.size());
  OwnedResult& result = results[tensor];
  const int64_t count = std::accumulate(bucket.counts.begin(), bucket.counts.end(), int64_t{0});
  result.bytes = count * static_cast<int64_t>(SizeOf(bucket.dtype));
  // Not zeroed: the gather writes every byte.
  result.data = std::shared_ptr<uint8_t[]>(new uint8_t[static_cast<size_t>(result.bytes)]);
  result.first_dims = response.first_dims[tensor];
  return {result.data.get(), count, bucket.dtype};
}

Result<TicketPtr> SubmissionTable::Add(Submission submission) {
  std::lock_guard lock(mutex_);
  if (!closed_.ok()) return closed_;
  const std::string& name = submission.request->name;
  auto [slot, added] = in_flight_.try_emplace(name);
  if (!added) {
    return Status(StatusCode::kDuplicateName,
                  "'" + name +
                      "' is already in flight on this rank: wait for it first, or give the "
                      "second one another name");
  }
  slot->second = std::make_unique<Work>();
  Work* work = slot->second.get();
  const bool urgent = submission.urgent;
  work->submission = std::move(submission);
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

Work* SubmissionTable::Find(const std::string& name) {
  std::lock_guard lock(mutex_);
  const auto found = in_flight_.find(name);
  return found == in_flight_.end() ? nullptr : found->second.get();
}

void SubmissionTable::Complete(Work* work, const Status& status) {
  std::unique_ptr<Work> done;
  {
    std::lock_guard lock(mutex_);
    const auto found = in_flight_.find(work->submission.request->name);
    done = std::move(found->second);
    in_flight_.erase(found);
  }
  // Outside the lock, and the name is free before anybody can see the ticket done.
  const TicketPtr ticket = done->ticket;
  std::vector<OwnedResult> results = std::move(done->results);
  done.reset();
  ticket->Complete(status, std::move(results));
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
  for (auto& [name, work] : *works) {
    const TicketPtr ticket = work->ticket;
    // The same words on every rank that had this in flight.
    const std::string kind(NameOf(work->submission.request->kind));
    const std::string stop = why.message().ends_with('.') ? " " : ". ";
    Status status(why.code(), why.message() + stop + "This ended " + kind + " '" + name + "'.");
    status.Blame(why.blamed_rank());
    work.reset();
    ticket->Complete(std::move(status));
  }
}

}  // namespace rueda::engine
