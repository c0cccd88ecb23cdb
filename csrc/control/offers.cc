#include "control/offers.h"

#include <algorithm>

namespace rueda::control {

void Offers::Add(const BitSet& by, const SharedRequest& request) {
  if (!variants_.empty() && AreEqual(variants_.back().request, request)) {
    return variants_.back().by.Unite(by);
  }
  if (variants_.size() > 1 && AreEqual(variants_.front().request, request)) {
    return variants_.front().by.Unite(by);
  }
  variants_.push_back({by, request});
}

void Offers::AddFrom(const Offers& others, const BitSet& by) {
  for (const Variant& other : others.variants_) {
    BitSet part = other.by;
    part.Intersect(by);
    if (!part.empty()) Add(part, other.request);
  }
}

void Offers::Sort() {
  std::ranges::sort(variants_, {}, [](auto& one) { return one.by.Lowest(); });
}

std::vector<const Request*> Offers::ByNumber(size_t size) const {
  std::vector<const Request*> offers(size, nullptr);
  for (const Variant& variant : variants_) {
    variant.by.ForEach([&](size_t number) { offers[number] = variant.request.get(); });
  }
  return offers;
}

}  // namespace rueda::control
