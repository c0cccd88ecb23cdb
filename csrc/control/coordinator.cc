#include "control/coordinator.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "control/agreement.h"
#include "control/bit_set.h"
#include "control/departures.h"
#include "control/process_sets.h"
#include "control/refusals.h"
#include "control/rounds.h"
#include "control/withheld.h"
#include "control/words.h"

namespace rueda::control {
namespace {

// Half a message for the responses before the last one, half for the last one, less what cached
// responses may take.
constexpr size_t kMaxResponseBytes = kMaxMessageBytes / 2 - (size_t{1} << 20);

}  // namespace

class Coordinator::Impl {
 public:
  Impl(const Topology& topology, const CoordinatorOptions& options)
      : topology_(topology),
        options_(options),
        limits_(options.limits),
        sets_(topology.size),
        rounds_(&topology_, &sets_, std::min<size_t>(options_.cache_capacity, kMaxSlots)),
        book_(rounds_.book()),
        withheld_(&book_, &sets_, options_.stall_warning, options_.stall_shutdown),
        departures_(topology_) {}

  Status AddProcessSet(uint32_t id, const std::vector<int>& ranks) { return sets_.Add(id, ranks); }

  Status Absorb(const BitSet& ranks, const Batch& batch, TimePoint now) {
    RUEDA_RETURN_IF_ERROR(
        ForAll(ranks, [this](size_t rank) { return CheckSender(static_cast<int>(rank)); }));
    RUEDA_RETURN_IF_ERROR(AbsorbSlots(ranks, batch.slots, now));
    for (const SharedRequest& request : batch.requests) {
      RUEDA_RETURN_IF_ERROR(AbsorbRequest(ranks, request, now));
    }
    if (batch.leave_reason) {
      ranks.ForEach([&](size_t rank) { Leave(static_cast<int>(rank), *batch.leave_reason); });
    }
    return Status::Ok();
  }

  Status Absorb(int from, const Batch& batch, TimePoint now) {
    RUEDA_RETURN_IF_ERROR(CheckSender(from));
    sender_.Clear();
    sender_.Insert(static_cast<size_t>(from));
    return Absorb(sender_, batch, now);
  }

  bool Decide(TimePoint now, Frame* frame) {
    GiveUpStalled(now);
    if (!HasAnswers()) return false;
    frame->Clear();
    frame->number = ++frames_;
    frame->limits = limits_;
    rounds_.TakeCached(frame);
    size_t bytes = 0;
    while (bytes < kMaxResponseBytes) {
      Entry* const entry = rounds_.TakeComplete();
      if (entry == nullptr) break;
      bytes += EncodedBytes(frame->responses.emplace_back(Settle(*entry)));
    }
    while (bytes < kMaxResponseBytes && !errors_.empty()) {
      bytes += EncodedBytes(frame->responses.emplace_back(std::move(errors_.front())));
      errors_.pop_front();
    }
    return true;
  }

  void SetLimits(const Limits& limits) { limits_ = limits; }

  std::vector<Stall> TakeStalls(TimePoint now) {
    std::vector<Stall> stalls;
    if (withheld_.warns()) rounds_.UnfoldSince(now - options_.stall_warning / 2);
    while (withheld_.warns() && withheld_.next_warning() <= now) {
      Entry& entry = *book_.oldest_unreported();
      stalls.push_back(StallOf(entry, withheld_.MissingFrom(entry), now));
      book_.MarkReported(entry);
    }
    return stalls;
  }

  std::vector<Stall> OpenStalls(TimePoint now) const { return withheld_.OpenStalls(now); }
  StallTally stall_tally() const { return {book_.reported(), rounds_.resumed(), failed_}; }
  TimePoint next_give_up() const { return withheld_.next_give_up(); }
  std::vector<int> missing_at_give_up() const { return withheld_.missing_at_give_up(); }
  void Account(int rank, std::string doing) { doing_[rank] = std::move(doing); }

  TimePoint NextDeadline() const {
    if (HasAnswers()) return TimePoint{};
    return std::min(withheld_.next_warning(), withheld_.next_give_up());
  }

  std::vector<int> Dependents() const { return sets_.RanksOfWholeSets(); }
  bool Finished() const { return departures_.AllLeft(); }

 private:
  bool HasAnswers() const { return rounds_.anything_complete() || !errors_.empty(); }
  Status Broken(int rank, const std::string& what) const {
    return ProtocolBroken(topology_, rank, what);
  }

  Status CheckSender(int rank) const {
    if (rank < 0 || rank >= topology_.size) return Broken(rank, "does not exist and sent a batch");
    return departures_.HasLeft(rank) ? Broken(rank, "sent a batch after it had left")
                                     : Status::Ok();
  }

  Status AbsorbSlots(const BitSet& ranks, const BitSet& slots, TimePoint now) {
    const Result<const BitSet*> others = rounds_.Count(ranks, slots, now);
    if (!others.ok()) return others.status();
    return ForAll(**others, [&](size_t slot) {
      Entry& entry = *book_.BySlot(static_cast<uint32_t>(slot));
      const int departed = entry.set->first_departed();
      if (departed < 0) return Take(entry, ranks, nullptr, now);
      ranks.ForEach([&](size_t rank) {
        AnswerOne(static_cast<int>(rank), entry.key,
                  departures_.Refuse(departed, false, entry.kind(), entry.key.name));
      });
      return Status::Ok();
    });
  }

  Status AbsorbRequest(const BitSet& ranks, const SharedRequest& request, TimePoint now) {
    const OfferKeyView key{request->process_set, request->name};
    ProcessSet* const set = sets_.Find(request->process_set);
    if (set != nullptr && RefusesNobody(*set, ranks, *request)) {
      Entry* const known = book_.ByName(key);
      Entry& entry = known != nullptr ? *known : book_.Open(key, *set);
      rounds_.Unfold(entry);
      return Take(entry, ranks, request, now);
    }
    return ForAll(ranks, [&](size_t rank) {
      const Status refused = Refuses(static_cast<int>(rank), *request, set);
      if (refused.ok()) return AbsorbRequest({static_cast<uint32_t>(rank)}, request, now);
      AnswerOne(static_cast<int>(rank), key, refused);
      return Status::Ok();
    });
  }

  bool RefusesNobody(const ProcessSet& set, const BitSet& ranks, const Request& request) const {
    return set.Has(ranks) && set.first_departed() < 0 &&
           (request.kind != OpKind::kJoin || sets_.FirstJoinedElsewhere(set) < 0);
  }
  // Why this rank's offer in full is answered at once; ok if it is not.
  Status Refuses(int rank, const Request& request, const ProcessSet* set) const {
    if (set == nullptr || set->MemberOf(rank) < 0) return NotInSet(rank, request, set);
    if (const int departed = set->first_departed(); departed >= 0) {
      return departures_.Refuse(departed, false, request.kind, request.name);
    }
    const int joined = sets_.FirstJoinedElsewhere(*set);
    const bool joins_in_vain = request.kind == OpKind::kJoin && joined >= 0;
    return joins_in_vain ? WaitsForJoined(joined, request.process_set) : Status::Ok();
  }

  // Counts offers of members in, in a round that is not folded; `full` is null for bits.
  Status Take(Entry& entry, const BitSet& ranks, const SharedRequest& full, TimePoint now) {
    RUEDA_RETURN_IF_ERROR(rounds_.Count(entry, ranks, full, now));
    if (entry.kind() == OpKind::kJoin) {
      ranks.ForEach([&](size_t rank) { Join(entry, static_cast<int>(rank)); });
    }
    rounds_.MakeReadyIfComplete(entry);
    return Status::Ok();
  }

  // From now on nobody waits for `rank`, whatever it has not offered yet.
  void Join(const Entry& join, int rank) {
    rounds_.UnfoldSetsOf(rank);
    join.set->Join(rank);
    for (Entry* entry : book_.Waiting()) {
      if (entry->set->MemberOf(rank) < 0 || entry == &join) continue;
      rounds_.MakeReadyIfComplete(*entry);
      if (entry->waits_in != nullptr && entry->kind() == OpKind::kJoin &&
          sets_.FirstJoinedElsewhere(*entry->set) >= 0) {
        AnswerOfferers(*entry, WaitsForJoined(rank, entry->key.process_set));
      }
    }
  }

  // Complete rounds still run, and the rank reads its acknowledgement after them. Its other offers
  // are withdrawn: it will not be there, and the others are told so at once.
  void Leave(int rank, const std::string& reason) {
    rounds_.UnfoldSetsOf(rank);
    departures_.Leave(rank, reason);
    sets_.Leave(rank);
    for (Entry* entry : book_.Waiting()) {
      const int member = entry->set->MemberOf(rank);
      if (member < 0) continue;
      const bool offered = entry->offered.Contains(static_cast<size_t>(member));
      const Status error = departures_.Refuse(rank, offered, entry->kind(), entry->key.name);
      AnswerOfferers(*entry, error, rank);
    }
    errors_.push_back(departures_.Acknowledge(rank));
  }

  void GiveUpStalled(TimePoint now) {
    if (next_give_up() <= now) rounds_.UnfoldSince(now - options_.stall_shutdown);
    while (next_give_up() <= now) {
      Entry& entry = *book_.oldest();
      const auto missing = withheld_.MissingFrom(entry);
      AnswerOfferers(entry, Stalled(topology_, entry, missing, now - entry.since, doing_));
    }
  }

  void AnswerOne(int rank, OfferKeyView key, Status error) {
    Response& response = errors_.emplace_back();
    response.process_set = key.process_set;
    response.name = key.name;
    response.error = std::move(error);
    response.only_rank = rank;
  }

  // Ends an incomplete round with an error to those who offered, but for one. The slot stays:
  // others may have its bit under way.
  void AnswerOfferers(Entry& entry, const Status& error, int but_rank = -1) {
    entry.offered.ForEach([&](size_t member) {
      const int rank = entry.set->ranks()[member];
      if (rank != but_rank) AnswerOne(rank, entry.key, error);
    });
    if (book_.IsReported(entry)) ++failed_;
    ProcessSet* const set = entry.kind() == OpKind::kJoin ? entry.set : nullptr;
    rounds_.Close(entry);
    if (set != nullptr) EndJoin(*set);
  }

  void EndJoin(ProcessSet& set) {
    set.EndJoin();
    rounds_.FoldAgain();
  }

  // Answers a complete round that is more than bits, and gives, keeps or drops the slot.
  Response Settle(Entry& entry) {
    Offers offers = entry.TakeOffers();
    const bool whole = entry.offered.count() == entry.set->size();
    const SharedRequest first = offers.first();
    Response response = Agree(topology_, entry.set->ranks(), offers);
    if (EncodedBytes(response) > kMaxResponseBytes) {
      response = {};
      response.process_set = first->process_set;
      response.name = first->name;
      response.error = TooLong(*first);
    }
    if (response.error.ok()) Govern(entry, *first, response);
    response.arrival = entry.arrival();
    // A rank that has joined hears nothing of slots.
    if (whole) SettleSlot(entry, std::move(offers), response);
    rounds_.Close(entry);
    return response;
  }

  void SettleSlot(Entry& entry, Offers offers, Response& response) {
    const bool lasts =
        response.error.ok() &&
        std::ranges::none_of(offers.variants(), [](auto& one) { return one.request->transient; });
    if (!lasts) return book_.DropSlot(entry);
    book_.AssignSlot(entry);
    entry.agreed = std::move(offers);
    response.slot = entry.slot;
  }

  // What is agreed about the job itself happens here, between two responses.
  void Govern(Entry& entry, const Request& request, Response& response) {
    switch (request.kind) {
      case OpKind::kJoin:
        response.number = entry.last_offerer;
        return EndJoin(*entry.set);
      case OpKind::kAddProcessSet:
      case OpKind::kRemoveProcessSet:
        response.error = ChangeSets(request, response);
        if (!response.error.ok()) response.placements.clear();
        return;
      default:
        return;
    }
  }

  Status ChangeSets(const Request& request, Response& response) {
    if (!response.absent.empty()) {
      const Status error = NeedsEveryone(request, response.absent);
      response.absent.clear();
      response.request = nullptr;
      return error;
    }
    if (request.kind == OpKind::kRemoveProcessSet) return RemoveSet(request);
    Result<uint32_t> id = sets_.AddNew({request.parts.begin(), request.parts.end()});
    if (!id.ok()) return id.status();
    response.number = *id;
    return Status::Ok();
  }

  Status RemoveSet(const Request& request) {
    const auto id = static_cast<uint32_t>(request.parts.empty() ? 0 : request.parts.front());
    if (const ProcessSet* set = sets_.Find(id); set != nullptr && id != 0) {
      const std::vector<Entry*> entries = book_.Of(*set);
      for (Entry* entry : entries) rounds_.Unfold(*entry);
      for (const Entry* entry : entries) {
        // Ranks offer nothing to a set after its removal, so this is none that completes.
        if (entry->offered.count() > 0 && entry->waits_in == nullptr) return SetInUse(request);
      }
      for (Entry* entry : entries) {
        const bool has_slot = entry->slot != kNoSlot;
        AnswerOfferers(*entry, SetRemoved(*entry, id));
        if (!has_slot) continue;  // it is gone
        book_.DropSlot(*entry);
        rounds_.Close(*entry);
      }
    }
    return sets_.Remove(id);
  }

  const Topology topology_;
  const CoordinatorOptions options_;
  Limits limits_;
  ProcessSets sets_;
  Rounds rounds_;
  OfferBook& book_;  // of the rounds
  const Withheld withheld_;
  Departures departures_;
  uint64_t frames_ = 0;
  uint64_t failed_ = 0;               // see StallTally
  std::map<int, std::string> doing_;  // by rank: what Account was told last
  std::deque<Response> errors_;       // not yet answered
  BitSet sender_;                     // kept for its memory
};

Coordinator::Coordinator(const Topology& topology, CoordinatorOptions options)
    : impl_(std::make_unique<Impl>(topology, options)) {}
Coordinator::~Coordinator() = default;

Status Coordinator::AddProcessSet(uint32_t id, const std::vector<int>& ranks) {
  return impl_->AddProcessSet(id, ranks);
}
Status Coordinator::Absorb(int from, const Batch& batch, TimePoint now) {
  return impl_->Absorb(from, batch, now);
}
Status Coordinator::Absorb(const BitSet& ranks, const Batch& batch, TimePoint now) {
  return impl_->Absorb(ranks, batch, now);
}
bool Coordinator::Decide(TimePoint now, Frame* frame) { return impl_->Decide(now, frame); }
std::optional<Frame> Coordinator::Decide(TimePoint now) {
  Frame frame;
  if (!Decide(now, &frame)) return std::nullopt;
  return frame;
}
void Coordinator::SetLimits(const Limits& limits) { impl_->SetLimits(limits); }
std::vector<Stall> Coordinator::TakeStalls(TimePoint now) { return impl_->TakeStalls(now); }
std::vector<Stall> Coordinator::OpenStalls(TimePoint now) const { return impl_->OpenStalls(now); }
StallTally Coordinator::stall_tally() const { return impl_->stall_tally(); }
TimePoint Coordinator::next_give_up() const { return impl_->next_give_up(); }
std::vector<int> Coordinator::missing_at_give_up() const { return impl_->missing_at_give_up(); }
void Coordinator::Account(int rank, std::string doing) { impl_->Account(rank, std::move(doing)); }
TimePoint Coordinator::NextDeadline() const { return impl_->NextDeadline(); }
std::vector<int> Coordinator::Dependents() const { return impl_->Dependents(); }
bool Coordinator::Finished() const { return impl_->Finished(); }

}  // namespace rueda::control
