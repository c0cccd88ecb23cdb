#include "control/rounds.h"

#include <string>

#include "control/refusals.h"
#include "control/words.h"

namespace rueda::control {

Result<const BitSet*> Rounds::Count(const BitSet& ranks, const BitSet& slots, TimePoint now) {
  SlotRounds& folded = book_.folded();
  counted_ = slots;
  counted_.Intersect(folded.open());
  others_ = slots;
  // Every rank is in the set of all ranks.
  others_.Subtract(book_.folded_for_all());
  RUEDA_RETURN_IF_ERROR(ForAll(others_, [&](size_t slot) { return CheckGiven(ranks, slot); }));
  if (!folded.Offer(ranks, counted_, now)) return FirstRepeated(ranks, counted_);
  others_.Subtract(counted_);
  return &others_;
}

Status Rounds::CheckGiven(const BitSet& ranks, size_t slot) const {
  const Entry* const entry = book_.BySlot(static_cast<uint32_t>(slot));
  if (entry != nullptr && entry->set->Has(ranks)) return Status::Ok();
  return ForAll(ranks, [&](size_t index) {
    const int rank = static_cast<int>(index);
    if (entry != nullptr && entry->set->MemberOf(rank) >= 0) return Status::Ok();
    return ProtocolBroken(*topology_, rank,
                          "offered slot " + std::to_string(slot) + ", which it was never given");
  });
}

Status Rounds::FirstRepeated(const BitSet& ranks, const BitSet& slots) const {
  return ForAll(slots, [&](size_t index) {
    const auto slot = static_cast<uint32_t>(index);
    return ForAll(ranks, [&](size_t rank) {
      if (!book_.folded().HasOffered(slot, static_cast<int>(rank))) return Status::Ok();
      return Twice(static_cast<int>(rank), *book_.BySlot(slot));
    });
  });
}

Status Rounds::FirstRepeated(const BitSet& ranks, const Entry& entry) const {
  return ForAll(ranks, [&](size_t index) {
    const int rank = static_cast<int>(index);
    const auto member = static_cast<size_t>(entry.set->MemberOf(rank));
    return entry.offered.Contains(member) ? Twice(rank, entry) : Status::Ok();
  });
}

Status Rounds::Twice(int rank, const Entry& entry) const {
  return ProtocolBroken(*topology_, rank,
                        "offered " + Quote(entry.key.name) + " twice before it was answered");
}

Status Rounds::Count(Entry& entry, const BitSet& ranks, const SharedRequest& full, TimePoint now) {
  const bool begins = entry.offered.empty();
  const BitSet& members = entry.set->MembersOf(ranks, &members_);
  if (entry.offered.Intersects(members)) return FirstRepeated(ranks, entry);
  entry.offered.Unite(members);
  if (full != nullptr) entry.full.Add(members, full);
  entry.last_offerer = static_cast<int>(ranks.Highest());
  entry.latest = now;
  if (begins) book_.Wait(entry, now);
  return Status::Ok();
}

bool Rounds::IsComplete(const Entry& entry) const {
  const size_t offered = entry.offered.count();
  if (offered == entry.set->size()) return true;
  // Cheap first: this is asked at each offer.
  return offered + sets_->MostAbsent(*entry.set) >= entry.set->size() &&
         entry.kind() != OpKind::kJoin && sets_->MissingFrom(*entry.set, entry.offered).empty();
}

void Rounds::MakeReadyIfComplete(Entry& entry) {
  // Not waiting: complete without a rank that had joined, and takes part now.
  if (entry.waits_in != nullptr && IsComplete(entry)) MakeReady(entry);
}

void Rounds::MakeReady(Entry& entry) {
  if (book_.IsReported(entry)) ++resumed_;
  book_.StopWaiting(entry);
  const bool bits_alone = entry.full.empty() && entry.offered.count() == entry.set->size();
  if (bits_alone) {
    complete_slots_.Insert(entry.slot);
  } else {
    complete_.push_back(&entry);
  }
}

void Rounds::Unfold(Entry& entry) {
  if (book_.Unfold(entry)) MakeReadyIfComplete(entry);
}

void Rounds::UnfoldSince(TimePoint since) {
  for (const uint32_t slot : book_.folded().WaitingSince(since)) Unfold(*book_.BySlot(slot));
}

void Rounds::UnfoldSetsOf(int rank) {
  for (Entry* entry : book_.WithSlots()) {
    if (entry->set->MemberOf(rank) >= 0) Unfold(*entry);
  }
}

void Rounds::FoldAgain() {
  for (Entry* entry : book_.WithSlots()) {
    if (entry->offered.empty()) FoldIfWhole(*entry);
  }
}

void Rounds::FoldIfWhole(Entry& entry) {
  const ProcessSet& set = *entry.set;
  if (set.first_departed() < 0 && !sets_->anybody_joined(set)) book_.Fold(entry);
}

void Rounds::Close(Entry& entry) {
  const bool lives = entry.slot != kNoSlot;
  book_.Close(entry);
  if (lives) FoldIfWhole(entry);
}

void Rounds::TakeCached(Frame* frame) {
  SlotRounds& folded = book_.folded();
  frame->cached = folded.whole();
  frame->cached.Unite(complete_slots_);
  frame->cached.ForEach([&](size_t slot) {
    frame->arrivals.push_back(complete_slots_.Contains(slot)
                                  ? book_.BySlot(static_cast<uint32_t>(slot))->arrival()
                                  : folded.ArrivalOf(slot));
  });
  folded.Restart();
  complete_slots_.ForEach([&](size_t slot) { Close(*book_.BySlot(static_cast<uint32_t>(slot))); });
  complete_slots_.Clear();
}

Entry* Rounds::TakeComplete() {
  if (complete_.empty()) return nullptr;
  Entry* const entry = complete_.front();
  complete_.pop_front();
  return entry;
}

}  // namespace rueda::control
