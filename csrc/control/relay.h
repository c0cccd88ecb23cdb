// Relay: an inner node of a tree of ranks, between the coordinator and ranks below it.
//
// In a job of many hosts rank 0 would read a batch a rank and step. A relay gathers what its
// children offer, and passes it up as few shares: ranks that offer the same share one. So rank 0
// reads a message a child, and the depth of the tree, not the number of ranks, is what a round
// takes. Frames pass down as they are; the relay looks at them to learn.
//
// A slot goes up when every child has offered it that did in the slot's last round; a request in
// full when every child has offered that name, or at once if it is for some ranks only: which
// children have any of them a relay does not know. What is waited for longer than `patience` is
// passed up without those that are late: who withholds it is then rank 0's to tell, as without
// relays. Nothing waits while somebody has joined, or once somebody has left: what a rank offered
// before must come before that, and rounds do without it from then on.
//
// Pure, like the Coordinator: it knows no links and no clock. One thread at a time. Children are
// numbered; the relay's own rank is one of them, and what is below a child is the child's business.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "control/bit_set.h"
#include "control/messages.h"
#include "control/offer_key.h"
#include "control/offers.h"
#include "control/share.h"
#include "core/clock.h"

namespace rueda::control {

class Relay {
 public:
  Relay(size_t children, Duration patience) : children_(children), patience_(patience) {}

  // Takes in what has come from a child.
  void Absorb(size_t child, Shares shares, TimePoint now);

  // What goes up now; empty if nothing does.
  Shares Forward(TimePoint now);
  // When Forward has something to say if nothing arrives, kNever if not at all.
  TimePoint NextDeadline() const { return oldest_ == kNever ? kNever : After(oldest_, patience_); }

  // A frame has passed down: what it answers begins anew.
  void Answered(const Frame& frame);

 private:
  struct Child {
    BitSet usual;   // slots that it offered in their last rounds
    BitSet held;    // of this round, not passed up
    BitSet passed;  // of this round
  };
  // Offers of bits that are held.
  struct Held {
    size_t child;
    BitSet ranks;
    BitSet slots;
  };
  // Offers of one name in full.
  struct Named {
    size_t number = 0;  // in the order of arrival
    BitSet by;          // children
    Offers offers;      // held, by rank
    bool is_join = false;
  };
  using NamedMap = std::unordered_map<OfferKey, Named, OfferKeyHash, OfferKeyEqual>;

  void AbsorbRequest(size_t child, const BitSet& ranks, const SharedRequest& request);
  bool HoldsAnything() const;
  const BitSet& SlotsToPass(bool everything);
  static void LeaveOutLate(const Child& child, BitSet* slots);
  void PassSlots(const BitSet& slots, Shares* up);
  void PassRequests(bool everything, Shares* up);

  std::vector<Child> children_;
  const Duration patience_;
  std::vector<Held> held_;
  BitSet all_held_;         // the slots of all of them
  size_t first_asked_ = 0;  // a child
  NamedMap named_;          // not yet answered
  Shares leaving_;          // last words
  size_t arrivals_ = 0;
  size_t joins_ = 0;  // of `named_`
  bool somebody_left_ = false;
  TimePoint oldest_ = kNever;  // since when something has been held

  // Kept for their memory.
  BitSet ready_;
  BitSet part_;
};

}  // namespace rueda::control
