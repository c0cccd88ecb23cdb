// Agree: what fits together, and the words for what does not.
#include "control/agreement.h"

#include <catch2/catch.hpp>
#include <functional>
#include <limits>
#include <numeric>

#include "control_samples.h"

namespace rueda::control {
namespace {

Topology Nameless(int size) {
  Topology topology;
  topology.size = size;
  return topology;
}

Offers ByMember(const std::vector<SharedRequest>& requests) {
  Offers offers;
  for (uint32_t member = 0; member < requests.size(); ++member) {
    if (requests[member] != nullptr) offers.Add({member}, requests[member]);
  }
  offers.Sort();
  return offers;
}

// What all of `offers` agree on, offered by ranks 0, 1, ...
Response AgreeOn(const std::vector<Request>& offers, const Topology& topology) {
  std::vector<int> ranks(offers.size());
  std::iota(ranks.begin(), ranks.end(), 0);
  return Agree(topology, ranks, ByMember(Shared(offers)));
}
Response AgreeOn(const std::vector<Request>& offers) {
  return AgreeOn(offers, Nameless(static_cast<int>(offers.size())));
}

// Three ranks that agree on `request` but for the last one's change.
Response WithChange(const Request& request, const std::function<void(Request&)>& change) {
  std::vector<Request> offers(3, request);
  change(offers[2]);
  return AgreeOn(offers);
}

Request Pair(const std::string& name) {
  Request group = Allreduce(name);
  group.tensors = {{"a", DType::kFloat32, {2}}, {"b", DType::kFloat32, {3}}};
  return group;
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("equal requests agree", "[agreement]") {
  for (const Request& request :
       {Allreduce("x"), Allgather("x", {2, 3}), Broadcast("x", 1), Barrier("x"), Pair("x")}) {
    const Response response = AgreeOn(std::vector<Request>(3, request));
    CHECK(response.error == Status::Ok());
    CHECK(response.name == "x");
    CHECK(response.slot == kNoSlot);
  }
}

TEST_CASE("a shape that one rank alone has is told with every rank's value", "[agreement]") {
  const Response response =
      AgreeOn({Allreduce("fc.weight"), Allreduce("fc.weight", {10, 5}), Allreduce("fc.weight")});
  CHECK(response.error.code() == StatusCode::kMismatch);
  CHECK(response.error.blamed_rank() == 1);
  CHECK(
      response.error.message() ==
      "ranks disagree on the shape of 'fc.weight' in allreduce: rank 1 offered [10, 5], ranks 0 "
      "and 2 [10, 4]. Make the tensor the same on every rank, or give different tensors different "
      "names.");
}

TEST_CASE("the odd one out is named with process and host", "[agreement]") {
  std::vector<Request> offers(4, Allreduce("x"));
  offers[1].tensors[0].dtype = DType::kFloat16;
  const Response response = AgreeOn(offers, TopologyOf(4));
  CHECK_THAT(
      response.error.message(),
      Catch::Contains("dtype of 'x' in allreduce: rank 1 (pid 101 on hostb) offered float16, "
                      "ranks 0, 2 and 3 float32."));
}

TEST_CASE("two ranks that differ blame nobody", "[agreement]") {
  const Response response = AgreeOn({Allreduce("x", {1}), Allreduce("x", {2})}, TopologyOf(2));
  CHECK(response.error.blamed_rank() == -1);
  CHECK_THAT(response.error.message(),
             Catch::Contains("rank 0 (pid 100 on hosta) offered [1], rank 1 "
                             "(pid 101 on hostb) [2]."));
}

TEST_CASE("long lists of ranks are collapsed", "[agreement]") {
  std::vector<Request> offers(9, Allreduce("x"));
  offers[7].op = ReduceOp::kMax;
  CHECK_THAT(AgreeOn(offers).error.message(),
             Catch::Contains("rank 7 offered Max, ranks 0-6 and 8 Sum."));
}

TEST_CASE("many values are counted after the first few", "[agreement]") {
  std::vector<Request> offers;
  for (int i = 0; i < 500; ++i) offers.push_back(Allreduce("x", {i}));
  const Status error = AgreeOn(offers).error;
  CHECK_THAT(error.message(), Catch::Contains("492 more ranks other values"));
  CHECK(error.message().size() < 600);
}

TEST_CASE("every property of an allreduce is compared", "[agreement]") {
  const auto told = [](const std::function<void(Request&)>& change) {
    return WithChange(Pair("g"), change).error.message();
  };
  CHECK_THAT(told([](Request& r) { r.kind = OpKind::kAllgather; }),
             Catch::Contains("the operation on 'g': rank 2 offered allgather, ranks 0 and 1 "
                             "allreduce."));
  CHECK_THAT(told([](Request& r) { r.process_set = 4; }),
             Catch::Contains("the process set of 'g': rank 2 offered 4, ranks 0 and 1 0."));
  CHECK_THAT(told([](Request& r) { r.priority = -3; }),
             Catch::Contains("the priority of allreduce 'g': rank 2 offered -3, ranks 0 and 1 0. "
                             "Pass the same value on every rank."));
  CHECK_THAT(told([](Request& r) { r.op = ReduceOp::kAverage; }),
             Catch::Contains("the op of allreduce 'g': rank 2 offered Average"));
  CHECK_THAT(
      told([](Request& r) { r.prescale = 0.5; }),
      Catch::Contains("prescale factor of allreduce 'g': rank 2 offered 0.5, ranks 0 and 1 1."));
  CHECK_THAT(told([](Request& r) { r.postscale = -0.0; }), Catch::Contains("rank 2 offered -0,"));
  CHECK_THAT(
      told([](Request& r) { r.tensors.pop_back(); }),
      Catch::Contains("number of tensors in allreduce 'g': rank 2 offered 1, ranks 0 and 1 2"));
  CHECK_THAT(told([](Request& r) { r.tensors[1].name.push_back('c'); }),
             Catch::Contains("name of tensor 1 of allreduce 'g': rank 2 offered 'bc'"));
  CHECK_THAT(told([](Request& r) { r.tensors[1].dtype = DType::kInt8; }),
             Catch::Contains("dtype of 'b' of group 'g' in allreduce: rank 2 offered int8"));
  CHECK_THAT(told([](Request& r) {
               r.tensors[0].shape = {1, 2};
             }),
             Catch::Contains("shape of 'a' of group 'g' in allreduce: rank 2 offered [1, 2]"));
}

TEST_CASE("factors are compared by their bits", "[agreement]") {
  Request request = Allreduce("x");
  request.prescale = kNan;
  CHECK(WithChange(request, [](Request&) {}).error.ok());
  CHECK_THAT(WithChange(request, [](Request& r) { r.prescale = -kNan; }).error.message(),
             Catch::Contains("rank 2 offered nan (0xfff8000000000000), ranks 0 and 1 nan (0x7ff8"));
  request.prescale = 0.0;
  CHECK_FALSE(WithChange(request, [](Request& r) { r.prescale = -0.0; }).error.ok());
}

TEST_CASE("arguments that mean nothing to an operation may differ", "[agreement]") {
  CHECK(WithChange(Allreduce("x"), [](Request& r) { r.root = 2; }).error.ok());
  CHECK(WithChange(Broadcast("x", 0), [](Request& r) { r.op = ReduceOp::kMax; }).error.ok());
  CHECK(WithChange(Barrier("x"), [](Request& r) { r.prescale = 3; }).error.ok());
  CHECK(WithChange(Allreduce("x"), [](Request& r) { r.transient = true; }).error.ok());
}

TEST_CASE("ranks may gather different first dimensions", "[agreement]") {
  const Response response =
      AgreeOn({Allgather("x", {2, 3}), Allgather("x", {0, 3}), Allgather("x", {7, 3})});
  CHECK(response.error.ok());
  CHECK(response.first_dims == std::vector<std::vector<int64_t>>{{2, 0, 7}});
}

TEST_CASE("ranks may not gather other dimensions that differ", "[agreement]") {
  const Status error =
      AgreeOn({Allgather("x", {2, 3}), Allgather("x", {1, 4}), Allgather("x", {7, 3})}).error;
  CHECK_THAT(error.message(), Catch::Contains("rank 1 offered [*, 4], ranks 0 and 2 [*, 3]."));
}

TEST_CASE("a scalar cannot be gathered", "[agreement]") {
  CHECK_THAT(AgreeOn({Allgather("x", {}), Allgather("x", {1})}).error.message(),
             Catch::Contains("rank 0 offered [], rank 1 [*]."));
  const Status error = AgreeOn({Allgather("x", {}), Allgather("x", {})}).error;
  CHECK(error.code() == StatusCode::kInvalidArgument);
  CHECK_THAT(error.message(), Catch::Contains("Reshape it to [1]"));
}

TEST_CASE("what would not fit memory once gathered is refused", "[agreement]") {
  const int64_t half = int64_t{1} << 60;
  const Response response = AgreeOn({Allgather("x", {half}), Allgather("x", {half})});
  CHECK(response.error.code() == StatusCode::kInvalidArgument);
  CHECK(response.first_dims.empty());
}

TEST_CASE("the root of a broadcast must be the same, and a member", "[agreement]") {
  CHECK_THAT(WithChange(Broadcast("x", 0), [](Request& r) { r.root = 1; }).error.message(),
             Catch::Contains("root rank of broadcast 'x': rank 2 offered 1, ranks 0 and 1 0."));
  const Status error = WithChange(Broadcast("x", 3), [](Request&) {}).error;
  CHECK(error.code() == StatusCode::kInvalidArgument);
  CHECK(error.message() ==
        "broadcast 'x' has the root rank 3, but its process set is ranks 0-2. Pass a root rank "
        "among them.");
}

TEST_CASE("placements are filled in when every rank has one", "[agreement]") {
  std::vector<Request> offers(2, Pair("g"));
  offers[0].placement = 64;
  CHECK(AgreeOn(offers).placements.empty());
  offers[1].placement = 0;
  CHECK(AgreeOn(offers).placements == std::vector<int64_t>{64, 0});
  for (Request& offer : offers) offer.tensors[1].dtype = DType::kFloat64;
  CHECK(AgreeOn(offers).placements.empty());
}

TEST_CASE("only allreduces run in place", "[agreement]") {
  Request request = Broadcast("x", 0);
  request.placement = 0;
  const Response response = AgreeOn({request, request});
  CHECK(response.error.ok());
  CHECK(response.placements.empty());
}

TEST_CASE("ranks of a set keep their own numbers", "[agreement]") {
  const SharedRequest small = Shared(Allreduce("x", {1}));
  const SharedRequest large = Shared(Allreduce("x", {2}));
  const Response response = Agree(Nameless(8), {2, 5, 7}, ByMember({small, large, small}));
  CHECK_THAT(response.error.message(), Catch::Contains("rank 5 offered [2], ranks 2 and 7 [1]."));
  CHECK(response.error.blamed_rank() == 5);
}

TEST_CASE("very long names are cut where no character ends", "[agreement]") {
  std::string name = "a";
  for (int i = 0; i < 300; ++i) name += "\u00e9";
  const Status error = AgreeOn({Allreduce(name, {1}), Allreduce(name, {2})}).error;
  CHECK(error.message().size() < 500);
  CHECK_THAT(error.message(), Catch::Contains("\u00e9...\u00e9"));
}

}  // namespace rueda::control
