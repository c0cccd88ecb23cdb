// Simulation: ranks, links and a coordinator in an order drawn from a seed; checks I1, I2 and I3.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/coordinator.h"
#include "control/request_memo.h"
#include "negotiation_program.h"
#include "negotiation_rank.h"

namespace rueda::control {

// What a run did, to see that the seeds reach what they are meant to.
struct Figures {
  size_t full_offers = 0;
  size_t bit_offers = 0;
  size_t results = 0;
  size_t mismatches = 0;
  size_t peers_left = 0;
  size_t withdrawn = 0;
  size_t buckets = 0;
  size_t in_place = 0;
  size_t absences = 0;
  size_t changes = 0;  // of the limits
  std::vector<std::vector<uint8_t>> frames;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : random_(seed),
        tuner_(~seed),
        tunes_(tuner_.Chance(50)),
        program_(ProgramWriter(random_, 1 + static_cast<int>(seed % 5)).Write()),
        coordinator_(TopologyOf(program_.size), Options()) {
    for (int rank = 0; rank < program_.size; ++rank) {
      ranks_.emplace_back(program_, rank);
      pace_.push_back(1 + random_.Below(8));
    }
    up_.resize(ranks_.size());
    down_.resize(ranks_.size());
    // A join that a departure ends leaves ranks at different places in what they do in other sets.
    const bool stays = !program_.joins.empty() && program_.sets.size() > 1;
    for (size_t early = stays || random_.Chance(60) ? 0 : 1 + random_.Below(2); early > 0;
         --early) {
      leave_at_[random_.Below(ranks_.size())] = random_.Below(400);
    }
  }

  // "" if every invariant held, else what did not.
  std::string Run() {
    for (uint32_t id = 1; id < program_.sets.size(); ++id) {
      if (!coordinator_.AddProcessSet(id, program_.sets[id]).ok()) return "no process set";
    }
    for (size_t event = 0; failure_.empty() && NextEvent(event); ++event)
      clock_.Advance(Duration(1000));
    if (failure_.empty()) CheckEnd();
    return failure_;
  }

  Figures TakeFigures() {
    for (SimulatedRank& rank : ranks_) {
      figures_.full_offers += rank.full_offers();
      figures_.bit_offers += rank.bit_offers();
      for (uint32_t set = 0; set < program_.sets.size(); ++set) {
        for (const std::string& bucket : rank.buckets(set)) {
          ++figures_.buckets;
          figures_.in_place += bucket.find("at ") != std::string::npos ? 1 : 0;
        }
      }
    }
    return std::move(figures_);
  }

 private:
  enum class Action { kSubmit, kFlush, kLeave, kAbsorb, kDecide, kReceive };
  struct Event {
    Action action;
    size_t rank;
  };

  CoordinatorOptions Options() {
    CoordinatorOptions options;
    options.limits.bucket_bytes = random_.Int(0, 300);
    if (random_.Chance(20)) options.cache_capacity = random_.Below(5);
    ample_ = options.cache_capacity > 1000;
    return options;
  }

  void Fail(const std::string& why) {
    if (failure_.empty()) failure_ = why;
  }

  // What may happen next; a rank's pace makes it likelier.
  std::vector<Event> Possible(size_t event) {
    std::vector<Event> events;
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      SimulatedRank& r = ranks_[rank];
      const auto early = leave_at_.find(rank);
      const bool leaves = early != leave_at_.end() && event >= early->second && !r.left();
      for (size_t i = 0; i < pace_[rank]; ++i) {
        if (!r.Submittable().empty()) events.push_back({Action::kSubmit, rank});
        if (r.CanFlush()) events.push_back({Action::kFlush, rank});
        if (leaves || r.WantsToLeave()) events.push_back({Action::kLeave, rank});
        if (!up_[rank].empty()) events.push_back({Action::kAbsorb, rank});
        if (!down_[rank].empty()) events.push_back({Action::kReceive, rank});
      }
    }
    if (coordinator_.NextDeadline() <= clock_.Now()) events.push_back({Action::kDecide, 0});
    return events;
  }

  bool NextEvent(size_t event) {
    const std::vector<Event> events = Possible(event);
    if (events.empty()) return false;
    const Event next = events[random_.Below(events.size())];
    SimulatedRank& rank = ranks_[next.rank];
    switch (next.action) {
      case Action::kSubmit: {
        const auto uses = rank.Submittable();
        rank.Submit(uses[random_.Below(uses.size())]);
        break;
      }
      case Action::kFlush:
        up_[next.rank].push_back(rank.Flush(std::nullopt));
        break;
      case Action::kLeave:
        up_[next.rank].push_back(rank.Flush(rank.WantsToLeave() ? "" : "ValueError: too early"));
        break;
      case Action::kAbsorb:
        Absorb(next.rank);
        break;
      case Action::kDecide:
        Decide();
        break;
      case Action::kReceive:
        Fail(rank.Receive(down_[next.rank].front()));
        down_[next.rank].pop_front();
        break;
    }
    return true;
  }

  void Absorb(size_t rank) {
    const std::vector<uint8_t> bytes = up_[rank].front();
    up_[rank].pop_front();
    Batch batch;
    const Status decoded = DecodeBatch(bytes, &batch, &memo_);
    if (!decoded.ok()) return Fail(decoded.message());
    batch.slots.ForEach([&](size_t slot) {
      offered_[key_of_slot_[static_cast<uint32_t>(slot)]].insert(static_cast<int>(rank));
    });
    for (const SharedRequest& request : batch.requests) {
      offered_[{request->process_set, request->name}].insert(static_cast<int>(rank));
      if (request->kind == OpKind::kJoin)
        joined_.insert({request->process_set, static_cast<int>(rank)});
      in_full_.insert({request->process_set, request->name});
    }
    Fail(coordinator_.Absorb(static_cast<int>(rank), batch, clock_.Now()).message());
  }

  // As an autotuner does, between any two frames.
  void ChangeLimits() {
    Limits limits;
    limits.bucket_bytes = tuner_.Int(0, 300);
    limits.linger = Duration(tuner_.Int(0, 1000));
    coordinator_.SetLimits(limits);
    limits_ = limits;
    ++figures_.changes;
  }

  void Decide() {
    if (tunes_ && tuner_.Chance(30)) ChangeLimits();
    const std::optional<Frame> frame = coordinator_.Decide(clock_.Now());
    if (!frame) return Fail("Decide had nothing to say although its deadline had passed");
    if (limits_ && frame->limits != *limits_) Fail("a frame has other limits than were set");
    for (const Response& response : AnswersOf(*frame)) CheckOffered(response);
    figures_.frames.push_back(Encode(*frame));
    for (auto& link : down_) link.push_back(figures_.frames.back());
  }

  // I2: what is answered to all was offered by all, what is answered to one by that one.
  void CheckOffered(const Response& response) {
    if (response.error.code() == StatusCode::kShutDown) return;
    const Key key =
        IsCached(response) ? key_of_slot_[response.slot] : Key{response.process_set, response.name};
    std::set<int>& offered = offered_[key];
    if (response.only_rank >= 0) {
      if (offered.erase(response.only_rank) != 1) Fail("an answer to a rank that did not offer");
      if (offered.empty()) in_full_.erase(key);
      return;
    }
    const std::vector<int>& members = program_.sets[key.first];
    std::set<int> expected(members.begin(), members.end());
    for (const int rank : response.absent) {
      ++figures_.absences;
      expected.erase(rank);
      if (!joined_.contains({0, rank}) && !joined_.contains({key.first, rank})) {
        Fail("a rank is absent that has not joined");
      }
    }
    if (key.second == "join") {
      std::erase_if(joined_, [&](const auto& joined) { return joined.first == key.first; });
    }
    if (!response.error.ok() && HasJoined(key.first)) {
      // Errors do not say who was absent.
      for (const int rank : members) {
        if (!offered.contains(rank)) expected.erase(rank);
      }
    }
    if (offered != expected) {
      Fail("'" + key.second + "' was answered before every member had offered it");
    }
    offered.clear();
    const bool only_bits = in_full_.erase(key) == 0;
    if (only_bits != IsCached(response) && response.absent.empty() && response.error.ok()) {
      Fail("the answer to '" + key.second + "' is cached, or not, against the offers");
    }
    if (response.slot != kNoSlot) key_of_slot_[response.slot] = key;
  }

  bool HasJoined(uint32_t set) const {
    return std::any_of(joined_.begin(), joined_.end(), [&](const auto& joined) {
      return joined.first == 0 || joined.first == set;
    });
  }

  void CheckEnd() {
    if (!coordinator_.Finished()) return Fail("nothing can happen, but not every rank has left");
    for (const SimulatedRank& rank : ranks_) {
      if (!rank.acknowledged()) Fail("a rank was never told that it has left");
    }
    for (uint32_t set = 0; set < program_.sets.size(); ++set) CheckSameBuckets(set);
    for (const std::vector<Use>& step : program_.steps) {
      for (const Use& use : step) CheckUse(use);
    }
    for (const auto& [step, join] : program_.joins) CheckUse(join);
    size_t full = 0;
    for (const SimulatedRank& rank : ranks_) full += rank.full_offers();
    const bool counted = ample_ && leave_at_.empty() && program_.joins.empty();
    if (counted && full != FullOffersOf(program_)) {
      Fail(std::to_string(full) + " offers travelled in full, not " +
           std::to_string(FullOffersOf(program_)));
    }
  }

  // I1.
  void CheckSameBuckets(uint32_t set) {
    const std::vector<int>& members = program_.sets[set];
    const auto& first = ranks_[static_cast<size_t>(members[0])].buckets(set);
    for (const int rank : members) {
      if (ranks_[static_cast<size_t>(rank)].buckets(set) != first) {
        Fail("rank " + std::to_string(rank) + " ran other buckets of set " + std::to_string(set));
      }
    }
  }

  // I3: each submission of this use ended once, as it should.
  void CheckUse(const Use& use) {
    std::vector<const SimulatedRank::Submission*> submissions;
    for (const SimulatedRank& rank : ranks_) {
      for (const auto& submission : rank.submissions()) {
        if (submission.use == &use) submissions.push_back(&submission);
      }
    }
    if (submissions.empty()) return;
    // Every member that had not joined ran it, or none: an early leaver's last offers may be
    // withdrawn.
    const bool ran =
        (!program_.joins.empty() || submissions.size() == program_.sets[use.key.first].size()) &&
        !IsDeparture(submissions[0]->outcome);
    const StatusCode expected = ExpectedOf(use);
    for (const auto* submission : submissions) {
      const StatusCode code = submission->outcome.code();
      Count(code);
      if (submission->completions != 1) Fail("'" + use.key.second + "' did not complete once");
      const bool fits = ran ? code == expected && submission->outcome == submissions[0]->outcome
                            : IsDeparture(submission->outcome);
      if (!fits) Fail("'" + use.key.second + "' ended as " + submission->outcome.message());
    }
  }

  // How a use ends that every rank runs which did not skip it.
  StatusCode ExpectedOf(const Use& use) const {
    std::vector<int> offered;
    for (const int rank : program_.sets[use.key.first]) {
      const auto index = static_cast<size_t>(rank);
      if (use.skipped.empty() || !use.skipped[index]) offered.push_back(rank);
    }
    const auto has = [&](int rank) {
      return std::find(offered.begin(), offered.end(), rank) != offered.end();
    };
    if (use.mismatch && has(use.spoiler) && offered.size() > 1) return StatusCode::kMismatch;
    const Request& request = *use.offers[static_cast<size_t>(offered.front())];
    if (request.kind != OpKind::kBroadcast || has(request.root)) return StatusCode::kOk;
    return StatusCode::kInvalidArgument;
  }

  // Who leaves early is told that it has left, the others that it has.
  bool IsDeparture(const Status& outcome) const {
    if (outcome.code() == StatusCode::kShutDown) return !leave_at_.empty();
    return outcome.code() == StatusCode::kPeerLeft &&
           leave_at_.contains(static_cast<size_t>(outcome.blamed_rank()));
  }

  void Count(StatusCode code) {
    if (code == StatusCode::kOk) ++figures_.results;
    if (code == StatusCode::kMismatch) ++figures_.mismatches;
    if (code == StatusCode::kPeerLeft) ++figures_.peers_left;
    if (code == StatusCode::kShutDown) ++figures_.withdrawn;
  }

  Random random_;
  Random tuner_;      // apart, so that it changes nothing else of a seed
  const bool tunes_;  // the limits change
  const Program program_;
  bool ample_ = true;             // slots for all names
  std::optional<Limits> limits_;  // if they did
  RequestMemo memo_;
  Coordinator coordinator_;
  ManualClock clock_;
  std::deque<SimulatedRank> ranks_;
  std::vector<size_t> pace_;
  std::vector<std::deque<std::vector<uint8_t>>> up_;    // by rank: batches under way
  std::vector<std::deque<std::vector<uint8_t>>> down_;  // by rank: frames under way
  std::map<size_t, size_t> leave_at_;                   // who leaves early, and after which event
  std::map<Key, std::set<int>> offered_;                // absorbed and not answered
  std::set<Key> in_full_;                               // of these, what somebody offered in full
  std::set<std::pair<uint32_t, int>> joined_;           // process set and rank
  std::map<uint32_t, Key> key_of_slot_;
  Figures figures_;
  std::string failure_;
};

}  // namespace rueda::control
