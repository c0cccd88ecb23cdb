// SimulatedRank: one rank of the negotiation simulation. It does what an engine does with a
// SlotTable and a Planner, and checks what it is told against what it offered.
#pragma once

#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "control/messages.h"
#include "control/planner.h"
#include "control/slot_table.h"
#include "control_samples.h"
#include "negotiation_program.h"

namespace rueda::control {

// All fields of a bucket and its parts: equal exactly when the buckets are.
inline std::string TextOf(const PlannedBucket& planned, std::span<const AgreedRequest> agreed) {
  const Bucket& b = planned.bucket;
  std::string text;
  const auto add = [&text](auto... values) { ((text += std::to_string(values) + " "), ...); };
  add(static_cast<int>(b.kind), static_cast<int>(b.op), static_cast<int>(b.dtype), b.divisor);
  add(std::bit_cast<uint64_t>(b.prescale), std::bit_cast<uint64_t>(b.postscale));
  add(b.root, b.process_set);
  for (const int64_t count : b.counts) add(count);
  for (const int64_t placement : b.placements) text += "at " + std::to_string(placement) + " ";
  for (const BucketSlice& slice : planned.slices) {
    text += agreed[slice.agreed].request->name + "[" + std::to_string(slice.tensor) + "] ";
  }
  for (const size_t index : planned.completes) text += "done " + agreed[index].request->name + " ";
  return text;
}

// What is wrong with a plan, or "": each tensor is in one bucket, each request is completed once,
// by the last bucket that holds a part of it, and nothing crosses a barrier.
inline std::string ProblemOf(const std::vector<PlannedBucket>& plan,
                             const std::vector<AgreedRequest>& agreed) {
  std::vector<size_t> tensors(agreed.size(), 0);
  std::vector<size_t> first(agreed.size(), plan.size());
  std::vector<size_t> last(agreed.size(), 0);
  std::vector<size_t> completed(agreed.size(), plan.size());
  for (size_t i = 0; i < plan.size(); ++i) {
    for (const BucketSlice& slice : plan[i].slices) {
      ++tensors[slice.agreed];
      first[slice.agreed] = std::min(first[slice.agreed], i);
      last[slice.agreed] = i;
    }
    for (const size_t index : plan[i].completes) {
      if (std::exchange(completed[index], i) != plan.size()) return "a request completes twice";
    }
  }
  size_t barrier = 0;
  for (size_t i = 0; i < agreed.size(); ++i) {
    if (tensors[i] != agreed[i].request->tensors.size())
      return "a tensor is missing or twice there";
    if (completed[i] == plan.size()) return "a request is never completed";
    if (tensors[i] > 0 && completed[i] != last[i]) return "a request completes in a wrong bucket";
    if (completed[i] < barrier || first[i] < barrier) return "a request runs before its barrier";
    if (agreed[i].request->kind == OpKind::kBarrier) {
      barrier = completed[i];
      if (*std::max_element(last.begin(), last.begin() + static_cast<ptrdiff_t>(i) + 1) > barrier) {
        return "a request runs after its barrier";
      }
    }
  }
  return {};
}

// Whether an agreement says of a member what it offered.
inline bool TellsTruth(const Response& agreed, const Request& own, size_t member) {
  if (!agreed.placements.empty() && agreed.placements[member] != own.placement) return false;
  if (agreed.first_dims.empty()) return own.kind != OpKind::kAllgather;
  return agreed.first_dims[0][member] == own.tensors[0].shape[0];
}

class SimulatedRank {
 public:
  SimulatedRank(const Program& program, int rank) : program_(program), rank_(rank) {}

  struct Submission {
    const Use* use;
    int completions = 0;
    Status outcome;
  };

  // Uses of the current step that may be submitted now.
  std::vector<const Use*> Submittable() {
    std::vector<const Use*> uses;
    while (!left_ && remaining_.empty() && Joined() && step_ < program_.steps.size()) EnterStep();
    for (const Use* use : remaining_) {
      if (!in_flight_.contains(use->key)) uses.push_back(use);
    }
    return uses;
  }

  void Submit(const Use* use) {
    remaining_.erase(std::find(remaining_.begin(), remaining_.end(), use));
    in_flight_[use->key] = submissions_.size();
    submissions_.push_back({use, 0, {}});
    unsent_.push_back(Own(*use));
  }

  bool CanFlush() const { return !unsent_.empty(); }
  // Everything is submitted and answered, and nobody was told yet that this rank leaves.
  bool WantsToLeave() const {
    return !left_ && step_ == program_.steps.size() && remaining_.empty() && !join_ &&
           in_flight_.empty();
  }
  bool left() const { return left_; }
  bool acknowledged() const { return acknowledged_; }

  std::vector<uint8_t> Flush(std::optional<std::string> leave_reason) {
    Batch batch;
    for (const SharedRequest& request : unsent_) {
      const uint32_t slot = table_.Find(request);
      slot == kNoSlot ? batch.requests.push_back(request) : (void)batch.slots.Insert(slot);
    }
    unsent_.clear();
    full_offers_ += batch.requests.size();
    bit_offers_ += batch.slots.count();
    left_ = leave_reason.has_value();
    batch.leave_reason = std::move(leave_reason);
    if (left_) remaining_.clear();
    return Encode(batch);
  }

  // What is wrong with the frame, or "".
  std::string Receive(const std::vector<uint8_t>& bytes) {
    const Result<Frame> frame = DecodeFrame(bytes.data(), bytes.size());
    if (!frame.ok()) return frame.status().message();
    if (frame->number != ++frames_) return "a frame is missing";
    std::map<uint32_t, std::vector<AgreedRequest>> agreed;
    const std::vector<Response> answers = AnswersOf(*frame);
    for (const Response& response : answers) {
      const std::string problem = Take(response, agreed);
      if (!problem.empty()) return problem;
    }
    std::string problem;
    for (const auto& [set, requests] : agreed) {
      if (problem.empty()) problem = Execute(set, requests, frame->limits);
    }
    return problem;
  }

  const std::vector<Submission>& submissions() const { return submissions_; }
  const std::vector<std::string>& buckets(uint32_t set) { return buckets_[set]; }
  size_t full_offers() const { return full_offers_; }
  size_t bit_offers() const { return bit_offers_; }

 private:
  const SharedRequest& Own(const Use& use) const { return use.offers[static_cast<size_t>(rank_)]; }

  void EnterStep() {
    for (const Use& use : program_.steps[step_]) {
      const bool skipped = !use.skipped.empty() && use.skipped[static_cast<size_t>(rank_)];
      if (Own(use) && !skipped) remaining_.push_back(&use);
    }
    const auto join = program_.joins.find(step_);
    if (join != program_.joins.end() && Own(join->second)) join_ = &join->second;
    ++step_;
  }

  // Whether the join at the end of the step is over. It begins when all else was submitted.
  bool Joined() {
    if (!join_) return true;
    if (!std::exchange(joining_, true)) {
      remaining_.push_back(join_);
      return false;
    }
    if (in_flight_.contains(join_->key)) return false;
    join_ = nullptr;
    joining_ = false;
    return true;
  }

  std::string Take(const Response& response,
                   std::map<uint32_t, std::vector<AgreedRequest>>& agreed) {
    const Response* full = IsCached(response) ? table_.Agreed(response.slot) : &response;
    if (!full) return "a cached slot is unknown";
    if (!full->AddressedTo(rank_)) return {};
    if (full->error.code() == StatusCode::kShutDown) return TakeAcknowledgement(*full);
    const Key key{full->process_set, full->name};
    const auto found = in_flight_.find(key);
    if (found == in_flight_.end()) {
      const std::vector<int>& members = program_.sets[key.first];
      const bool member = std::find(members.begin(), members.end(), rank_) != members.end();
      if (response.IsAbsent(rank_)) {
        agreed[key.first].push_back({response.request.get(), full});
        return {};
      }
      if (member && join_ && !full->error.ok()) return {};  // it was answered without this rank
      if (member) return "an answer to '" + key.second + "', which is not in flight";
      if (!IsCached(response) && response.absent.empty()) table_.Learn(nullptr, response);
      return {};
    }
    Submission& submission = submissions_[found->second];
    const SharedRequest& own = Own(*submission.use);
    if (!IsCached(response) && response.absent.empty()) table_.Learn(own, response);
    in_flight_.erase(found);
    if (!full->error.ok()) {
      ++submission.completions;
      submission.outcome = full->error;
      return {};
    }
    const std::vector<int>& members = program_.sets[key.first];
    const auto member = std::find(members.begin(), members.end(), rank_) - members.begin();
    if (!TellsTruth(*full, *own, static_cast<size_t>(member)))
      return "a rank's offer came back wrong";
    running_[key] = &submission - submissions_.data();
    agreed[key.first].push_back({own.get(), full});
    return {};
  }

  // Nothing more comes for this rank: what it waits for was withdrawn.
  std::string TakeAcknowledgement(const Response& response) {
    if (!left_ || std::exchange(acknowledged_, true)) return "it was told that it left";
    for (const auto& [key, index] : in_flight_) {
      ++submissions_[index].completions;
      submissions_[index].outcome = response.error;
    }
    in_flight_.clear();
    return {};
  }

  std::string Execute(uint32_t set, const std::vector<AgreedRequest>& agreed,
                      const Limits& limits) {
    const std::vector<PlannedBucket> plan = Plan(agreed, program_.sets[set], limits);
    for (const PlannedBucket& planned : plan) {
      buckets_[set].push_back(TextOf(planned, agreed));
      for (const size_t index : planned.completes) {
        const auto running = running_.find({set, agreed[index].request->name});
        if (agreed[index].response->IsAbsent(rank_)) continue;
        ++submissions_[static_cast<size_t>(running->second)].completions;
      }
    }
    return ProblemOf(plan, agreed);
  }

  const Program& program_;
  const int rank_;
  size_t step_ = 0;
  std::vector<const Use*> remaining_;  // of the current step
  const Use* join_ = nullptr;          // at its end
  bool joining_ = false;               // it was submitted, or is about to be
  std::vector<SharedRequest> unsent_;
  std::map<Key, size_t> in_flight_;  // index of the submission
  std::map<Key, ptrdiff_t> running_;
  std::vector<Submission> submissions_;
  SlotTable table_;
  bool left_ = false;
  bool acknowledged_ = false;
  uint64_t frames_ = 0;
  std::map<uint32_t, std::vector<std::string>> buckets_;  // by set: what this rank executed
  size_t full_offers_ = 0;
  size_t bit_offers_ = 0;
};

}  // namespace rueda::control
