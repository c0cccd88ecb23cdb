// SlotTable: what one rank remembers of agreements.
#include "control/slot_table.h"

#include <catch2/catch.hpp>

#include "control_samples.h"

namespace rueda::control {
namespace {

std::shared_ptr<const Request> Share(const Request& request) {
  return std::make_shared<const Request>(request);
}

}  // namespace

TEST_CASE("nothing is found before it is learned", "[slot_table]") {
  const SlotTable table;
  CHECK(table.Find(Share(Allreduce("x"))) == kNoSlot);
  CHECK(table.Agreed(0) == nullptr);
  CHECK(table.Agreed(kNoSlot) == nullptr);
}

TEST_CASE("an agreed request is found by address and by value", "[slot_table]") {
  SlotTable table;
  const auto request = Share(Allreduce("x"));
  table.Learn(request, Agreed("x", 3));
  CHECK(table.Find(request) == 3);
  CHECK(table.Find(Share(*request)) == 3);
  REQUIRE(table.Agreed(3) != nullptr);
  CHECK(*table.Agreed(3) == Agreed("x", 3));
  CHECK(table.Agreed(2) == nullptr);
}

TEST_CASE("a request that changed in anything is not found", "[slot_table]") {
  SlotTable table;
  table.Learn(Share(Allreduce("x")), Agreed("x", 0));
  Request changed = Allreduce("x");
  changed.placement = 0;
  CHECK(table.Find(Share(changed)) == kNoSlot);
  changed = Allreduce("x");
  changed.prescale = -1.0;
  CHECK(table.Find(Share(changed)) == kNoSlot);
  changed = Allreduce("x");
  changed.priority = 1;
  CHECK(table.Find(Share(changed)) == kNoSlot);
  CHECK(table.Find(Share(Allreduce("x", {3}))) == kNoSlot);
}

TEST_CASE("factors that compare equal but scale differently are not found", "[slot_table]") {
  SlotTable table;
  Request request = Allreduce("x");
  request.postscale = 0.0;
  table.Learn(Share(request), Agreed("x", 0));
  request.postscale = -0.0;
  CHECK(table.Find(Share(request)) == kNoSlot);
}

TEST_CASE("a changed request takes the place of the old one", "[slot_table]") {
  SlotTable table;
  table.Learn(Share(Allreduce("x", {1})), Agreed("x", 5));
  const auto changed = Share(Allreduce("x", {2}));
  Response response = Agreed("x", 5);
  response.placements = {64};
  table.Learn(changed, response);
  CHECK(table.Find(changed) == 5);
  CHECK(table.Find(Share(Allreduce("x", {1}))) == kNoSlot);
  CHECK(table.Agreed(5)->placements == std::vector<int64_t>{64});
}

TEST_CASE("errors and responses without a slot make it forget", "[slot_table]") {
  SlotTable table;
  const auto request = Share(Allreduce("x"));
  const Response forgetful[] = {Agreed("x"), Failed("x", {StatusCode::kMismatch, "why"}),
                                Failed("x", {StatusCode::kPeerLeft, "why"}, 0)};
  for (const Response& response : forgetful) {
    table.Learn(request, Agreed("x", 1));
    table.Learn(request, response);
    CHECK(table.Find(request) == kNoSlot);
    CHECK(table.Agreed(1) == nullptr);
  }
}

TEST_CASE("a slot may pass to another name", "[slot_table]") {
  SlotTable table;
  const auto old = Share(Allreduce("old"));
  const auto young = Share(Allreduce("young"));
  table.Learn(old, Agreed("old", 0));
  table.Learn(young, Agreed("young", 0));
  CHECK(table.Find(old) == kNoSlot);
  CHECK(table.Find(young) == 0);
}

TEST_CASE("process sets have names of their own", "[slot_table]") {
  SlotTable table;
  Request other = Allreduce("x");
  other.process_set = 1;
  Response response = Agreed("x", 1);
  response.process_set = 1;
  table.Learn(Share(Allreduce("x")), Agreed("x", 0));
  table.Learn(Share(other), response);
  CHECK(table.Find(Share(Allreduce("x"))) == 0);
  CHECK(table.Find(Share(other)) == 1);
}

TEST_CASE("slots of foreign process sets are known but never offered", "[slot_table]") {
  SlotTable table;
  table.Learn(nullptr, Agreed("x", 2));
  CHECK(table.Find(Share(Allreduce("x"))) == kNoSlot);
  REQUIRE(table.Agreed(2) != nullptr);
  CHECK(table.Agreed(2)->name == "x");
}

TEST_CASE("what was agreed stays in place while other slots are learned", "[slot_table]") {
  SlotTable table;
  table.Learn(Share(Allreduce("x")), Agreed("x", 0));
  const Response* first = table.Agreed(0);
  for (uint32_t slot = 1; slot < 2000; ++slot) {
    const std::string name = "x" + std::to_string(slot);
    table.Learn(Share(Allreduce(name)), Agreed(name, slot));
  }
  CHECK(table.Agreed(0) == first);
  CHECK(first->name == "x");
}

}  // namespace rueda::control
