// Offers: what was offered in full under one name, and by whom; the same offers together.
//
// Ranks of a job offer the same nearly always, so there are few of these however many ranks there
// are. Numbers of those who offer are the caller's: ranks, or members of a set. A value.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "control/bit_set.h"
#include "control/request.h"

namespace rueda::control {

class Offers {
 public:
  struct Variant {
    BitSet by;
    SharedRequest request;
  };

  // None of `by` has offered before. Equal requests mostly become one variant: a request is
  // compared with the first and the last one alone, so that many different ones cost no more.
  void Add(const BitSet& by, const SharedRequest& request);
  // Adds what those in `by` offered in `others`.
  void AddFrom(const Offers& others, const BitSet& by);
  // Keeps its memory.
  void Clear() { variants_.clear(); }

  bool empty() const { return variants_.empty(); }
  std::span<const Variant> variants() const { return variants_; }
  const SharedRequest& first() const { return variants_.front().request; }
  // In the order of the lowest number of each, so that `first` is what that one offered.
  void Sort();
  // By number below `size`, null where there is none. Valid as long as this is.
  std::vector<const Request*> ByNumber(size_t size) const;

 private:
  std::vector<Variant> variants_;
};

}  // namespace rueda::control
