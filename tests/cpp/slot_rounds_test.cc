// SlotRounds: counting by 64 against counting one by one.
#include "control/slot_rounds.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <utility>
#include <vector>

#include "control_samples.h"

namespace rueda::control {
namespace {

TimePoint At(int64_t nanoseconds) { return TimePoint{} + Duration(nanoseconds); }

// What SlotRounds says it does, with a set of ranks a slot.
class NaiveRounds {
 public:
  explicit NaiveRounds(std::vector<std::set<size_t>> members)
      : members_(std::move(members)), offered_(members_.size()), since_(members_.size()) {}

  bool IsWhole(size_t slot) const { return offered_[slot] == members_[slot]; }
  // Whether all of them are members that have not offered yet.
  bool MayOffer(const BitSet& ranks, size_t slot) const {
    bool may = true;
    ranks.ForEach([&](size_t rank) {
      may = may && members_[slot].contains(rank) && !offered_[slot].contains(rank);
    });
    return may;
  }
  void Offer(const BitSet& ranks, const BitSet& slots, TimePoint now) {
    slots.ForEach([&](size_t slot) {
      if (offered_[slot].empty()) since_[slot] = now;
      ranks.ForEach([&](size_t rank) { offered_[slot].insert(rank); });
    });
  }
  BitSet whole() const {
    BitSet whole;
    for (size_t slot = 0; slot < members_.size(); ++slot) {
      if (IsWhole(slot)) whole.Insert(slot);
    }
    return whole;
  }
  TimePoint oldest() const {
    TimePoint oldest = kNever;
    for (size_t slot = 0; slot < members_.size(); ++slot) {
      if (!IsWhole(slot) && !offered_[slot].empty()) oldest = std::min(oldest, since_[slot]);
    }
    return oldest;
  }
  std::set<size_t> Forget(size_t slot) { return std::exchange(offered_[slot], {}); }
  void Restart() {
    whole().ForEach([&](size_t slot) { offered_[slot].clear(); });
  }

 private:
  std::vector<std::set<size_t>> members_;
  std::vector<std::set<size_t>> offered_;
  std::vector<TimePoint> since_;
};

// One seed: slots with members of their own, groups of ranks that offer. The number of rounds that
// became whole, or -1 at the first difference.
int64_t RoundsOf(uint64_t seed, size_t ranks, uint32_t slots) {
  Random random(seed);
  SlotRounds rounds(static_cast<int>(ranks));
  std::vector<std::set<size_t>> members(slots);
  for (uint32_t slot = 0; slot < slots; ++slot) {
    for (size_t rank = 0; rank < ranks; ++rank) {
      if (random.Chance(70)) members[slot].insert(rank);
    }
    members[slot].insert(random.Below(ranks));
    rounds.Open(slot, members[slot].size());
  }
  NaiveRounds naive(members);
  int64_t whole = 0;
  for (int step = 0; step < 600; ++step) {
    // Some of those whom one slot still needs; other slots may take them, too.
    BitSet group;
    const size_t wanted = random.Below(slots);
    for (size_t rank = 0; rank < ranks; ++rank) {
      const BitSet alone{static_cast<uint32_t>(rank)};
      if (random.Chance(50) && naive.MayOffer(alone, wanted)) group.Insert(rank);
    }
    BitSet offer;
    for (uint32_t slot = 0; slot < slots; ++slot) {
      const bool may = !group.empty() && naive.MayOffer(group, slot);
      if (may && random.Chance(70)) offer.Insert(slot);
    }
    if (!rounds.Offer(group, offer, At(step))) return -1;
    naive.Offer(group, offer, At(step));
    if (!(rounds.whole() == naive.whole()) || rounds.oldest() != naive.oldest()) return -1;
    if (random.Chance(10)) {
      const auto slot = static_cast<uint32_t>(random.Below(slots));
      const std::set<size_t> expected = naive.Forget(slot);
      std::set<size_t> found;
      rounds.Close(slot).ForEach([&](size_t rank) { found.insert(rank); });
      if (found != expected) return -1;
      rounds.Open(slot, members[slot].size());
    }
    if (random.Chance(60)) {
      whole += static_cast<int64_t>(naive.whole().count());
      rounds.Restart();
      naive.Restart();
    }
  }
  return whole;
}

}  // namespace

TEST_CASE("counting 64 slots at once agrees with counting ranks", "[slot_rounds]") {
  for (const size_t ranks : {1U, 2U, 3U, 4U, 7U, 8U, 65U}) {
    for (const uint32_t slots : {1U, 63U, 64U, 65U, 130U}) {
      INFO(ranks << " ranks, " << slots << " slots");
      CHECK(RoundsOf(1000 * ranks + slots, ranks, slots) > 0);
    }
  }
}

TEST_CASE("a second offer in one round is refused, and counts nothing", "[slot_rounds]") {
  SlotRounds rounds(3);
  for (uint32_t slot = 0; slot < 70; ++slot) rounds.Open(slot, 3);
  REQUIRE(rounds.Offer({0, 2}, {1, 69}, At(1)));
  CHECK_FALSE(rounds.Offer({1, 2}, {0, 69}, At(2)));
  CHECK_FALSE(rounds.HasOffered(0, 1));
  CHECK(rounds.HasOffered(69, 2));
  REQUIRE(rounds.Offer({1}, {1, 69}, At(5)));
  CHECK(rounds.whole() == BitSet{1, 69});
  CHECK(rounds.ArrivalOf(69).last_offerer == 1);
  CHECK(rounds.ArrivalOf(69).spread == Duration(4));
  CHECK(rounds.oldest() == kNever);
  // Offers to what is whole are second ones until it is answered.
  CHECK_FALSE(rounds.Offer({1}, {69}, At(6)));
  rounds.Restart();
  CHECK(rounds.Offer({1}, {69}, At(6)));
  CHECK(rounds.WaitingSince(At(6)) == std::vector<uint32_t>{69});
  CHECK(rounds.WaitingSince(At(5)).empty());
}

TEST_CASE("a slot may be given to another number of members", "[slot_rounds]") {
  SlotRounds rounds(4);
  rounds.Open(0, 4);
  REQUIRE(rounds.Offer({0, 1, 2}, {0}, At(0)));
  CHECK(rounds.Close(0) == BitSet{0, 1, 2});
  CHECK_FALSE(rounds.IsOpen(0));
  CHECK(rounds.Close(0).empty());
  rounds.Open(0, 2);
  REQUIRE(rounds.Offer({1, 3}, {0}, At(1)));
  CHECK(rounds.whole() == BitSet{0});
}

}  // namespace rueda::control
