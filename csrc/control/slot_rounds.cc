#include "control/slot_rounds.h"

#include <algorithm>
#include <bit>

namespace rueda::control {

SlotRounds::SlotRounds(int ranks)
    : ranks_(static_cast<size_t>(ranks)),
      planes_(static_cast<size_t>(std::bit_width(static_cast<size_t>(ranks)))) {}

void SlotRounds::Grow(size_t words) {
  if (words <= words_) return;
  words_ = words;
  missing_.resize(words * planes_);
  needed_.resize(words * planes_);
  offered_.resize(words * ranks_);
  since_.resize(words * BitSet::kWordBits);
  arrivals_.resize(words * BitSet::kWordBits);
}

void SlotRounds::Open(uint32_t slot, size_t members) {
  const size_t at = slot / BitSet::kWordBits;
  const Word bit = Word{1} << (slot % BitSet::kWordBits);
  Grow(at + 1);
  open_.Insert(slot);
  for (size_t plane = 0; plane < planes_; ++plane) {
    const Word value = ((members >> plane) & 1U) != 0 ? bit : 0;
    Word& needed = needed_[at * planes_ + plane];
    needed = (needed & ~bit) | value;
    MissingIn(at)[plane] = (MissingIn(at)[plane] & ~bit) | value;
  }
}

BitSet SlotRounds::Close(uint32_t slot) {
  BitSet ranks;
  if (!open_.Remove(slot)) return ranks;
  whole_.Remove(slot);
  if (!begun_.Remove(slot)) return ranks;
  const Word bit = Word{1} << (slot % BitSet::kWordBits);
  Word* const offered = OfferedIn(slot / BitSet::kWordBits);
  for (size_t rank = 0; rank < ranks_; ++rank) {
    if ((offered[rank] & bit) == 0) continue;
    offered[rank] &= ~bit;
    ranks.Insert(rank);
  }
  return ranks;
}

bool SlotRounds::Offer(const BitSet& ranks, const BitSet& slots, TimePoint now) {
  Word twice = 0;
  for (size_t at = 0; at < slots.words().size(); ++at) {
    const Word bits = slots.words()[at];
    if (bits == 0) continue;
    const Word* const offered = OfferedIn(at);
    ranks.ForEach([&](size_t rank) { twice |= offered[rank] & bits; });
  }
  if (twice != 0) return false;
  const int last = ranks.empty() ? -1 : static_cast<int>(ranks.Highest());
  for (size_t at = 0; at < slots.words().size(); ++at) {
    const Word bits = slots.words()[at];
    if (bits == 0) continue;
    Word* const offered = OfferedIn(at);
    ranks.ForEach([&](size_t rank) { offered[rank] |= bits; });
    Begin(at, bits & ~begun_.WordAt(at), now);
    const Word whole = CountDown(at, bits, ranks.count());
    BitSet::ForEachBit(at, whole, [&](size_t slot) {
      arrivals_[slot] = {last, now - since_[slot]};
    });
    whole_.SetWord(at, whole_.WordAt(at) | whole);
  }
  return true;
}

void SlotRounds::Begin(size_t at, Word bits, TimePoint now) {
  if (bits == 0) return;
  begun_.SetWord(at, begun_.WordAt(at) | bits);
  BitSet::ForEachBit(at, bits, [&](size_t slot) {
    since_[slot] = now;
    arrivals_[slot] = {};
  });
}

bool SlotRounds::HasOffered(uint32_t slot, int rank) const {
  const size_t at = slot / BitSet::kWordBits;
  if (at >= words_) return false;
  const Word offered = offered_[at * ranks_ + static_cast<size_t>(rank)];
  return ((offered >> (slot % BitSet::kWordBits)) & 1U) != 0;
}

// Subtracts `offers` from the 64 numbers, each plane a full subtractor, where `bits` are set.
SlotRounds::Word SlotRounds::CountDown(size_t at, Word bits, size_t offers) {
  Word* const missing = MissingIn(at);
  Word borrow = 0;
  Word left = 0;
  for (size_t plane = 0; plane < planes_; ++plane) {
    const Word taken = ((offers >> plane) & 1U) != 0 ? bits : 0;
    const Word before = missing[plane];
    missing[plane] = before ^ taken ^ borrow;
    borrow = (~before & (taken | borrow)) | (taken & borrow);
    left |= missing[plane];
  }
  return bits & ~left;
}

void SlotRounds::Restart() {
  for (size_t at = 0; at < whole_.words().size(); ++at) {
    const Word whole = whole_.words()[at];
    if (whole == 0) continue;
    // Nothing is missing any more, so these bits are 0 in each plane.
    for (size_t plane = 0; plane < planes_; ++plane) {
      MissingIn(at)[plane] |= NeededIn(at)[plane] & whole;
    }
    Word* const offered = OfferedIn(at);
    for (size_t rank = 0; rank < ranks_; ++rank) offered[rank] &= ~whole;
    begun_.SetWord(at, begun_.WordAt(at) & ~whole);
  }
  whole_.Clear();
}

template <typename Function>
void SlotRounds::ForEachWaiting(Function function) const {
  for (size_t at = 0; at < begun_.words().size(); ++at) {
    BitSet::ForEachBit(at, begun_.words()[at] & ~whole_.WordAt(at), function);
  }
}

TimePoint SlotRounds::oldest() const {
  TimePoint oldest = kNever;
  ForEachWaiting([&](size_t slot) { oldest = std::min(oldest, since_[slot]); });
  return oldest;
}

std::vector<uint32_t> SlotRounds::WaitingSince(TimePoint since) const {
  std::vector<uint32_t> slots;
  ForEachWaiting([&](size_t slot) {
    if (since_[slot] <= since) slots.push_back(static_cast<uint32_t>(slot));
  });
  return slots;
}

}  // namespace rueda::control
