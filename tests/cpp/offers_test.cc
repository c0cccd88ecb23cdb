// Offers: what was offered in full, and by whom.
#include "control/offers.h"

#include <catch2/catch.hpp>
#include <memory>

#include "control_samples.h"

namespace rueda::control {

TEST_CASE("equal offers become one, whoever made them", "[offers]") {
  Offers offers;
  CHECK(offers.empty());
  offers.Add({2, 5}, Shared(Allreduce("x", {1})));
  offers.Add({0}, Shared(Allreduce("x", {2})));
  offers.Add({1}, Shared(Allreduce("x", {1})));
  offers.Add({3}, Shared(Allreduce("x", {2})));
  REQUIRE(offers.variants().size() == 2);
  CHECK(offers.variants()[0].by == BitSet{1, 2, 5});
  CHECK(offers.variants()[1].by == BitSet{0, 3});
  CHECK(offers.first()->tensors[0].shape == std::vector<int64_t>{1});
  offers.Sort();
  CHECK(offers.first()->tensors[0].shape == std::vector<int64_t>{2});
  offers.Clear();
  CHECK(offers.empty());
}

TEST_CASE("offers by number are what each one offered", "[offers]") {
  Random random(11);
  for (int round = 0; round < 50; ++round) {
    Offers offers;
    std::vector<SharedRequest> by_number(1 + random.Below(200));
    BitSet left_out;
    for (uint32_t number = 0; number < by_number.size(); ++number) {
      if (random.Chance(20)) continue;
      by_number[number] = Shared(Allreduce("x", {random.Int(0, 3)}));
      offers.Add({number}, by_number[number]);
      if (random.Chance(50)) left_out.Insert(number);
    }
    Offers part;
    part.AddFrom(offers, left_out);
    const auto all = offers.ByNumber(by_number.size());
    const auto some = part.ByNumber(by_number.size());
    size_t wrong = 0;
    for (size_t number = 0; number < by_number.size(); ++number) {
      const SharedRequest& expected = by_number[number];
      wrong += (all[number] == nullptr) != (expected == nullptr) ? 1 : 0;
      if (expected != nullptr) wrong += *all[number] == *expected ? 0 : 1;
      const bool in_part = left_out.Contains(number);
      wrong += (some[number] != nullptr) != in_part ? 1 : 0;
      if (in_part) wrong += *some[number] == *expected ? 0 : 1;
    }
    CHECK(wrong == 0);
  }
}

}  // namespace rueda::control
