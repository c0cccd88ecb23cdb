#include "control/coordinator.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "control/agreement.h"
#include "control/bit_set.h"
#include "control/departures.h"
#include "control/offer_book.h"
#include "control/process_sets.h"
#include "control/refusals.h"
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
        book_(std::min<size_t>(options_.cache_capacity, kMaxSlots)),
        departures_(topology_) {}

  Status AddProcessSet(uint32_t id, const std::vector<int>& ranks) { return sets_.Add(id, ranks); }

  Status Absorb(int from, const Batch& batch, TimePoint now) {
    if (from < 0 || from >= topology_.size) return Broken(from, "does not exist and sent a batch");
    if (departures_.HasLeft(from)) return Broken(from, "sent a batch after it had left");
    for (const uint32_t slot : batch.slots) {
      RUEDA_RETURN_IF_ERROR(AbsorbSlot(from, slot, now));
    }
    for (const Request& request : batch.requests) {
      RUEDA_RETURN_IF_ERROR(AbsorbRequest(from, request, now));
    }
    if (batch.leave_reason) Leave(from, *batch.leave_reason);
    return Status::Ok();
  }

  std::optional<Frame> Decide(TimePoint now) {
    GiveUpStalled(now);
    if (!HasAnswers()) return std::nullopt;
    Frame frame;
    frame.number = ++frames_;
    frame.limits = limits_;
    AnswerCached(frame);
    size_t bytes = 0;
    while (bytes < kMaxResponseBytes && !ready_.empty()) {
      Entry& entry = *ready_.front();
      ready_.pop_front();
      bytes += EncodedBytes(frame.responses.emplace_back(Settle(entry)));
    }
    while (bytes < kMaxResponseBytes && !errors_.empty()) {
      bytes += EncodedBytes(frame.responses.emplace_back(std::move(errors_.front())));
      errors_.pop_front();
    }
    return frame;
  }

  void SetLimits(const Limits& limits) { limits_ = limits; }

  std::vector<Stall> TakeStalls(TimePoint now) {
    std::vector<Stall> stalls;
    while (Entry* entry = WarnsOfStalls() ? book_.oldest_unreported() : nullptr) {
      if (now - entry->since < options_.stall_warning) break;
      stalls.push_back(StallOf(*entry, MissingFrom(*entry), now));
      book_.MarkReported(*entry);
    }
    return stalls;
  }

  std::vector<Stall> OpenStalls(TimePoint now) const {
    std::vector<Stall> stalls;
    for (const Entry* entry : book_.WaitingSince(now - options_.stall_warning / 2)) {
      stalls.push_back(StallOf(*entry, MissingFrom(*entry), now));
    }
    return stalls;
  }

  StallTally stall_tally() const { return {book_.reported(), resumed_, failed_}; }

  TimePoint next_give_up() const {
    const Entry* entry = GivesUp() ? book_.oldest() : nullptr;
    return entry != nullptr ? After(entry->since, options_.stall_shutdown) : kNever;
  }
  std::vector<int> missing_at_give_up() const {
    const Entry* entry = GivesUp() ? book_.oldest() : nullptr;
    return entry != nullptr ? MissingFrom(*entry) : std::vector<int>();
  }

  void Account(int rank, std::string doing) { doing_[rank] = std::move(doing); }

  TimePoint NextDeadline() const {
    if (HasAnswers()) return TimePoint{};
    const Entry* entry = WarnsOfStalls() ? book_.oldest_unreported() : nullptr;
    return std::min(entry ? After(entry->since, options_.stall_warning) : kNever, next_give_up());
  }

  std::vector<int> Dependents() const { return sets_.RanksOfWholeSets(); }
  bool Finished() const { return departures_.AllLeft(); }

 private:
  bool WarnsOfStalls() const { return options_.stall_warning > Duration::zero(); }
  bool GivesUp() const { return options_.stall_shutdown > Duration::zero(); }
  bool HasAnswers() const {
    return ready_slots_.count() > 0 || !ready_.empty() || !errors_.empty();
  }
  Status Broken(int rank, const std::string& what) const {
    return ProtocolBroken(topology_, rank, what);
  }

  Status AbsorbSlot(int from, uint32_t slot, TimePoint now) {
    Entry* entry = book_.BySlot(slot);
    const int member = entry ? entry->set->MemberOf(from) : -1;
    if (member < 0) {
      return Broken(from, "offered slot " + std::to_string(slot) + ", which it was never given");
    }
    if (entry->set->first_departed() >= 0) {
      RefuseWithout(entry->set->first_departed(), from, entry->key, entry->kind());
      return Status::Ok();
    }
    return Take(*entry, from, static_cast<size_t>(member), nullptr, now);
  }

  Status AbsorbRequest(int from, const Request& request, TimePoint now) {
    const OfferKeyView key{request.process_set, request.name};
    ProcessSet* set = sets_.Find(request.process_set);
    const int member = set ? set->MemberOf(from) : -1;
    if (member < 0) {
      AnswerOne(from, key, NotInSet(from, request, set));
      return Status::Ok();
    }
    if (set->first_departed() >= 0) {
      RefuseWithout(set->first_departed(), from, key, request.kind);
      return Status::Ok();
    }
    if (request.kind == OpKind::kJoin) {
      if (const int joined = sets_.FirstJoinedElsewhere(*set); joined >= 0) {
        AnswerOne(from, key, WaitsForJoined(joined, request.process_set));
        return Status::Ok();
      }
    }
    Entry* entry = book_.ByName(key);
    if (entry == nullptr) entry = &book_.Open(key, *set);
    return Take(*entry, from, static_cast<size_t>(member), &request, now);
  }

  // Counts one offer in; `full` is null for a bit.
  Status Take(Entry& entry, int from, size_t member, const Request* full, TimePoint now) {
    if (!entry.offered.Insert(member)) {
      return Broken(from, "offered " + Quote(entry.key.name) + " twice before it was answered");
    }
    if (full != nullptr) entry.PutFull(member, *full);
    entry.last_offerer = from;
    entry.latest = now;
    if (entry.offered.count() == 1) {
      book_.Wait(entry, now);
    } else if (entry.waits_in == nullptr) {
      return Status::Ok();  // complete without this rank, which had joined; now it takes part
    }
    if (entry.kind() == OpKind::kJoin) Join(entry, from);
    if (IsComplete(entry)) MakeReady(entry);
    return Status::Ok();
  }

  bool IsComplete(const Entry& entry) const {
    if (entry.offered.count() == entry.set->size()) return true;
    return sets_.anybody_joined(*entry.set) && entry.kind() != OpKind::kJoin &&
           MissingFrom(entry).empty();
  }

  // Ranks that are waited for: neither have they offered it nor joined.
  std::vector<int> MissingFrom(const Entry& entry) const {
    std::vector<int> missing = entry.MissingRanks();
    if (entry.kind() == OpKind::kJoin) return missing;
    std::erase_if(missing, [&](int rank) { return sets_.IsAbsent(*entry.set, rank); });
    return missing;
  }

  void MakeReady(Entry& entry) {
    if (book_.IsReported(entry)) ++resumed_;
    book_.StopWaiting(entry);
    const bool cached = entry.full.empty() && entry.offered.count() == entry.set->size();
    if (cached) {
      ready_slots_.Insert(entry.slot);
    } else {
      ready_.push_back(&entry);
    }
  }

  // From now on nobody waits for `rank`, whatever it has not offered yet.
  void Join(const Entry& join, int rank) {
    join.set->Join(rank);
    for (Entry* entry : book_.Waiting()) {
      if (entry->set->MemberOf(rank) < 0 || entry == &join) continue;
      if (IsComplete(*entry)) {
        MakeReady(*entry);
      } else if (entry->kind() == OpKind::kJoin && sets_.FirstJoinedElsewhere(*entry->set) >= 0) {
        AnswerOfferers(*entry, WaitsForJoined(rank, entry->key.process_set));
      }
    }
  }

  // Complete rounds still run, and the rank reads its acknowledgement after them. Its other offers
  // are withdrawn: it will not be there, and the others are told so at once.
  void Leave(int rank, const std::string& reason) {
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

  void RefuseWithout(int departed, int from, OfferKeyView key, OpKind kind) {
    AnswerOne(from, key, departures_.Refuse(departed, false, kind, key.name));
  }

  void GiveUpStalled(TimePoint now) {
    while (next_give_up() <= now) {
      Entry& entry = *book_.oldest();
      const auto missing = MissingFrom(entry);
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
    if (entry.kind() == OpKind::kJoin) entry.set->EndJoin();
    if (book_.IsReported(entry)) ++failed_;
    book_.Close(entry);
  }

  void AnswerCached(Frame& frame) {
    frame.responses.reserve(ready_slots_.count() + ready_.size());
    ready_slots_.ForEach([&](size_t slot) {
      Response& response = frame.responses.emplace_back();
      response.slot = static_cast<uint32_t>(slot);
      response.cached = true;
      NoteLast(*book_.BySlot(response.slot), response);
      book_.Close(*book_.BySlot(response.slot));
    });
    ready_slots_.Clear();
  }

  static void NoteLast(const Entry& entry, Response& response) {
    response.last_offerer = entry.last_offerer;
    response.spread = entry.latest - entry.since;
  }

  // Answers a complete round that is more than bits, and gives, keeps or drops the slot.
  Response Settle(Entry& entry) {
    std::vector<SharedRequest> offers = entry.Offers();
    const bool whole = entry.offered.count() == entry.set->size();
    const SharedRequest first =
        *std::find_if(offers.begin(), offers.end(), [](auto& offer) { return offer != nullptr; });
    Response response = Agree(topology_, entry.set->ranks(), offers);
    if (EncodedBytes(response) > kMaxResponseBytes) {
      response = {};
      response.process_set = first->process_set;
      response.name = first->name;
      response.error = TooLong(*first);
    }
    if (response.error.ok()) Govern(entry, *first, response);
    NoteLast(entry, response);
    // A rank that has joined hears nothing of slots.
    if (whole) SettleSlot(entry, std::move(offers), response);
    book_.Close(entry);
    return response;
  }

  void SettleSlot(Entry& entry, std::vector<SharedRequest> offers, Response& response) {
    const bool lasts =
        response.error.ok() &&
        std::none_of(offers.begin(), offers.end(), [](auto& offer) { return offer->transient; });
    if (!lasts) return book_.DropSlot(entry);
    book_.AssignSlot(entry);
    ready_slots_.Grow(entry.slot == kNoSlot ? 0 : entry.slot + size_t{1});
    entry.agreed = std::move(offers);
    response.slot = entry.slot;
  }

  // What is agreed about the job itself happens here, between two responses.
  void Govern(Entry& entry, const Request& request, Response& response) {
    switch (request.kind) {
      case OpKind::kJoin:
        response.number = entry.last_offerer;
        return entry.set->EndJoin();
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
      for (const Entry* entry : entries) {
        // Ranks offer nothing to a set after its removal, so this is none that completes.
        if (entry->offered.count() > 0 && entry->waits_in == nullptr) return SetInUse(request);
      }
      for (Entry* entry : entries) {
        const bool has_slot = entry->slot != kNoSlot;
        AnswerOfferers(*entry, SetRemoved(*entry, id));
        if (!has_slot) continue;  // it is gone
        book_.DropSlot(*entry);
        book_.Close(*entry);
      }
    }
    return sets_.Remove(id);
  }

  const Topology topology_;
  const CoordinatorOptions options_;
  Limits limits_;
  ProcessSets sets_;
  OfferBook book_;
  Departures departures_;
  uint64_t frames_ = 0;
  uint64_t resumed_ = 0;  // see StallTally
  uint64_t failed_ = 0;
  std::map<int, std::string> doing_;  // by rank: what Account was told last

  // Not yet answered. Bounded by what ranks have in flight, as each waits for its answers.
  BitSet ready_slots_;        // complete rounds of bits alone
  std::deque<Entry*> ready_;  // complete rounds with offers in full, in the order of completion
  std::deque<Response> errors_;
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
std::optional<Frame> Coordinator::Decide(TimePoint now) { return impl_->Decide(now); }
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
