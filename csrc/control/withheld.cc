#include "control/withheld.h"

#include <algorithm>

namespace rueda::control {
namespace {

TimePoint SinceOf(const Entry* entry) { return entry ? entry->since : kNever; }

}  // namespace

std::vector<int> Withheld::MissingFrom(const Entry& entry) const {
  return entry.kind() == OpKind::kJoin ? entry.set->RanksWithout(entry.offered)
                                       : sets_->MissingFrom(*entry.set, entry.offered);
}

TimePoint Withheld::next_warning() const {
  if (!warns()) return kNever;
  const TimePoint since = std::min(SinceOf(book_->oldest_unreported()), book_->folded().oldest());
  return After(since, warning_);
}

TimePoint Withheld::oldest() const {
  return std::min(SinceOf(book_->oldest()), book_->folded().oldest());
}

TimePoint Withheld::next_give_up() const {
  return gives_up() ? After(oldest(), shutdown_) : kNever;
}

std::vector<int> Withheld::missing_at_give_up() const {
  if (!gives_up() || oldest() == kNever) return {};
  const Entry* const entry = book_->oldest();
  if (entry != nullptr && entry->since == oldest()) return MissingFrom(*entry);
  const uint32_t slot = book_->folded().WaitingSince(oldest()).front();
  std::vector<int> missing = book_->BySlot(slot)->set->ranks();
  std::erase_if(missing, [&](int rank) { return book_->folded().HasOffered(slot, rank); });
  return missing;
}

std::vector<Stall> Withheld::OpenStalls(TimePoint now) const {
  std::vector<Stall> stalls;
  for (const Entry* entry : book_->WaitingSince(now - warning_ / 2)) {
    stalls.push_back(StallOf(*entry, MissingFrom(*entry), now));
  }
  return stalls;
}

}  // namespace rueda::control
