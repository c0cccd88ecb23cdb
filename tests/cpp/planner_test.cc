// Plan: the same buckets on every rank, each tensor in exactly one, each request completed once.
#include "control/planner.h"

#include <catch2/catch.hpp>
#include <deque>
#include <numeric>

#include "control_samples.h"

namespace rueda::control {
namespace {

// Requests with their agreed responses, as Plan takes them.
class Agreements {
 public:
  Agreements& Add(const Request& request, std::vector<int64_t> placements = {},
                  std::vector<std::vector<int64_t>> first_dims = {}) {
    const Request& kept = requests_.emplace_back(request);
    Response& response = responses_.emplace_back(Agreed(request.name));
    response.placements = std::move(placements);
    response.first_dims = std::move(first_dims);
    agreed_.push_back({&kept, &response});
    return *this;
  }
  std::vector<PlannedBucket> Plan(int64_t bucket_bytes = 1 << 20, int set_size = 2) const {
    Limits limits;
    limits.bucket_bytes = bucket_bytes;
    std::vector<int> ranks(static_cast<size_t>(set_size));
    std::iota(ranks.begin(), ranks.end(), 0);
    return control::Plan(agreed_, ranks, limits);
  }

 private:
  std::deque<Request> requests_;
  std::deque<Response> responses_;
  std::vector<AgreedRequest> agreed_;
};

Request Typed(const std::string& name, DType dtype, int64_t count) {
  Request request = Allreduce(name, {count});
  request.tensors[0].dtype = dtype;
  return request;
}

// The plan in short: kind, dtype, elements and what it completes, bucket by bucket.
std::vector<std::string> Short(const std::vector<PlannedBucket>& buckets) {
  std::vector<std::string> lines;
  for (const PlannedBucket& planned : buckets) {
    std::string line = std::string(NameOf(planned.bucket.kind)) + " ";
    line += NameOf(planned.bucket.dtype);
    for (const int64_t count : planned.bucket.counts) line += " " + std::to_string(count);
    line += " completes";
    for (const size_t index : planned.completes) line += " " + std::to_string(index);
    lines.push_back(line);
  }
  return lines;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("staged allreduces of one sort share a bucket", "[planner]") {
  const auto buckets =
      Agreements().Add(Allreduce("a", {3})).Add(Allreduce("b", {5})).Add(Allreduce("c", {})).Plan();
  CHECK(Short(buckets) == Lines{"allreduce float32 9 completes 0 1 2"});
  REQUIRE(buckets[0].slices.size() == 3);
  CHECK(buckets[0].slices[1].agreed == 1);
  CHECK_FALSE(buckets[0].bucket.in_place());
}

TEST_CASE("another dtype, op or factor is another bucket", "[planner]") {
  Request maximum = Allreduce("c", {1});
  maximum.op = ReduceOp::kMax;
  Request scaled = Allreduce("d", {1});
  scaled.prescale = 0.5;
  Request zero = Allreduce("e", {1});
  zero.prescale = 0.0;
  Request negative_zero = Allreduce("f", {1});
  negative_zero.prescale = -0.0;
  const auto buckets = Agreements()
                           .Add(Allreduce("a", {1}))
                           .Add(Typed("b", DType::kFloat64, 1))
                           .Add(maximum)
                           .Add(scaled)
                           .Add(zero)
                           .Add(negative_zero)
                           .Add(Allreduce("g", {7}))
                           .Plan();
  CHECK(buckets.size() == 6);
  CHECK(buckets[0].bucket.counts == std::vector<int64_t>{8});
  CHECK(buckets[2].bucket.op == ReduceOp::kMax);
  CHECK(buckets[3].bucket.prescale == 0.5);
}

TEST_CASE("an average divides by the ranks of the set", "[planner]") {
  Request average = Allreduce("a");
  average.op = ReduceOp::kAverage;
  const auto buckets = Agreements().Add(average).Add(Allreduce("b")).Plan(1 << 20, 3);
  REQUIRE(buckets.size() == 2);
  CHECK(buckets[0].bucket.divisor == 3);
  CHECK(buckets[1].bucket.divisor == 1);
}

TEST_CASE("bucket_bytes bounds what is shared, not a tensor", "[planner]") {
  const auto buckets = Agreements()
                           .Add(Allreduce("a", {10}))
                           .Add(Allreduce("b", {6}))
                           .Add(Allreduce("c", {1}))
                           .Add(Allreduce("d", {100}))
                           .Add(Allreduce("e", {1}))
                           .Plan(64);
  CHECK(Short(buckets) ==
        Lines{"allreduce float32 16 completes 0 1", "allreduce float32 1 completes 2",
              "allreduce float32 100 completes 3", "allreduce float32 1 completes 4"});
}

TEST_CASE("a group of several dtypes is split and completed by its last part", "[planner]") {
  Request group = Allreduce("g");
  group.tensors = {
      {"a", DType::kFloat32, {2}}, {"b", DType::kInt64, {3}}, {"c", DType::kFloat32, {4}}};
  const auto buckets = Agreements().Add(Allreduce("x", {1})).Add(group).Plan();
  CHECK(Short(buckets) ==
        Lines{"allreduce float32 7 completes 0", "allreduce int64 3 completes 1"});
}

TEST_CASE("a request completes in the latest bucket that holds a part of it", "[planner]") {
  Request group = Allreduce("g");
  group.tensors = {{"b", DType::kInt64, {3}}, {"c", DType::kFloat32, {4}}};
  const auto buckets =
      Agreements().Add(Allreduce("x", {1})).Add(Typed("y", DType::kInt64, 1)).Add(group).Plan();
  CHECK(Short(buckets) ==
        Lines{"allreduce float32 5 completes 0", "allreduce int64 4 completes 1 2"});
}

TEST_CASE("placed requests are buckets of their own, padding included", "[planner]") {
  Request group = Allreduce("g");
  group.tensors = {{"a", DType::kFloat32, {17}}, {"b", DType::kFloat32, {1}}};
  const auto buckets =
      Agreements().Add(Allreduce("x", {1})).Add(group, {0, 64}).Add(Allreduce("y", {1})).Plan(16);
  CHECK(Short(buckets) ==
        Lines{"allreduce float32 2 completes 0 2", "allreduce float32 48 completes 1"});
  CHECK(buckets[1].bucket.placements == std::vector<int64_t>{0, 64});
  CHECK(buckets[1].slices.size() == 2);
}

TEST_CASE("the layout of a placed group starts each tensor on a line", "[planner]") {
  const Layout layout = LayoutOf({{"a", DType::kFloat32, {17}},
                                  {"b", DType::kInt8, {0, 5}},
                                  {"c", DType::kInt8, {}},
                                  {"d", DType::kFloat64, {8}}});
  CHECK(layout.offsets == std::vector<int64_t>{0, 128, 128, 192});
  CHECK(layout.bytes == 256);
  CHECK(LayoutOf({}).bytes == 0);
}

TEST_CASE("broadcasts from one root share buckets as bytes", "[planner]") {
  Request wide = Broadcast("b", 1, {2});
  wide.tensors[0].dtype = DType::kFloat64;
  const auto buckets =
      Agreements().Add(Broadcast("a", 1, {3})).Add(wide).Add(Broadcast("c", 0, {1})).Plan();
  CHECK(Short(buckets) ==
        Lines{"broadcast uint8 28 completes 0 1", "broadcast uint8 4 completes 2"});
  CHECK(buckets[0].bucket.root == 1);
}

TEST_CASE("an allgather is a bucket a tensor with each rank's elements", "[planner]") {
  Request group = Allgather("g", {9, 4});
  group.tensors.push_back({"h", DType::kInt8, {9}});
  const auto buckets = Agreements().Add(group, {}, {{2, 0}, {1, 5}}).Plan();
  CHECK(Short(buckets) ==
        Lines{"allgather float32 8 0 completes", "allgather int8 1 5 completes 0"});
}

TEST_CASE("nothing crosses a barrier", "[planner]") {
  const auto buckets =
      Agreements().Add(Allreduce("a", {1})).Add(Barrier("b")).Add(Allreduce("c", {1})).Plan();
  CHECK(Short(buckets) == Lines{"allreduce float32 1 completes 0", "barrier uint8 0 completes 1",
                                "allreduce float32 1 completes 2"});
  CHECK(buckets[1].slices.empty());
}

TEST_CASE("requests without elements or tensors are completed", "[planner]") {
  Request empty = Allreduce("e");
  empty.tensors.clear();
  Request empty_gather = Allgather("f", {});
  empty_gather.tensors.clear();
  const auto buckets = Agreements()
                           .Add(Allreduce("a", {0}))
                           .Add(Allreduce("b", {5, 0}))
                           .Add(empty)
                           .Add(empty, {0, 0})
                           .Add(empty_gather)
                           .Add(Allgather("h", {0, 2}), {}, {{0, 0}})
                           .Plan(0);
  CHECK(Short(buckets) == Lines{"allreduce float32 0 completes 0 1",
                                "allreduce uint8 0 completes 2", "allreduce uint8 0 completes 3",
                                "allgather uint8 0 0 completes 4",
                                "allgather float32 0 0 completes 5"});
  CHECK(buckets[2].bucket.in_place());
}

TEST_CASE("a plan does not depend on what only this rank knows", "[planner]") {
  Request mine = Allgather("a", {3, 2});
  mine.placement = 640;
  mine.op = ReduceOp::kMax;
  mine.prescale = 2.0;
  Request theirs = Allgather("a", {5, 2});
  const auto ours = Agreements().Add(mine, {}, {{3, 5}}).Plan();
  const auto others = Agreements().Add(theirs, {}, {{3, 5}}).Plan();
  CHECK(Short(ours) == Short(others));
  CHECK(ours[0].bucket.op == others[0].bucket.op);
  CHECK(ours[0].bucket.prescale == others[0].bucket.prescale);
}

TEST_CASE("a large group keeps every tensor once, in order", "[planner]") {
  Request group = Allreduce("g");
  group.tensors.clear();
  int64_t elements = 0;
  for (int64_t i = 0; i < 161; ++i) {
    group.tensors.push_back({"t" + std::to_string(i), DType::kFloat32, {i * 37 % 101, 16}});
    elements += group.tensors.back().count();
  }
  const auto buckets = Agreements().Add(group).Plan(10000);
  size_t next = 0;
  int64_t planned = 0;
  for (const PlannedBucket& bucket : buckets) {
    CHECK(bucket.bucket.counts[0] * 4 <= 10000);
    planned += bucket.bucket.counts[0];
    for (const BucketSlice& slice : bucket.slices) CHECK(slice.tensor == next++);
  }
  CHECK(next == 161);
  CHECK(planned == elements);
  CHECK(buckets.back().completes == std::vector<size_t>{0});
}

TEST_CASE("a reducescatter is a bucket a tensor, the first ranks get a row more", "[planner]") {
  Request request = Typed("x", DType::kFloat32, 0);
  request.kind = OpKind::kReducescatter;
  request.tensors[0].shape = {8, 5};
  const auto plan = Agreements().Add(request).Plan(1 << 20, 3);
  CHECK(Short(plan) == Lines{"reducescatter float32 15 15 10 completes 0"});
}

TEST_CASE("gather and scatter are exchanges with one busy column or row", "[planner]") {
  Request request = Allgather("x", {2, 5});
  request.kind = OpKind::kGather;
  request.root = 2;
  CHECK(Short(Agreements().Add(request, {}, {{2, 0, 7}}).Plan(1 << 20, 3)) ==
        Lines{"alltoall float32 0 0 10 0 0 0 0 0 35 completes 0"});
  request.kind = OpKind::kScatter;
  request.root = 1;
  CHECK(Short(Agreements().Add(request, {}, {{0, 0, 0, 1, 2, 3, 0, 0, 0}}).Plan(1 << 20, 3)) ==
        Lines{"alltoall float32 0 0 0 5 10 15 0 0 0 completes 0"});
}

TEST_CASE("reduces to one root share buckets", "[planner]") {
  const auto reduce = [](const std::string& name, int root) {
    Request request = Allreduce(name, {4});
    request.kind = OpKind::kReduce;
    request.root = root;
    return request;
  };
  const auto plan = Agreements().Add(reduce("a", 0)).Add(reduce("b", 1)).Add(reduce("c", 0)).Plan();
  CHECK(Short(plan) == Lines{"reduce float32 8 completes 0 2", "reduce float32 4 completes 1"});
  CHECK(plan[0].bucket.root == 0);
  CHECK(plan[1].bucket.root == 1);
}

TEST_CASE("complex numbers are reduced as pairs and moved as they are", "[planner]") {
  CHECK(Short(Agreements().Add(Typed("x", DType::kComplex64, 7)).Plan()) ==
        Lines{"allreduce float32 14 completes 0"});
  Request gathered = Allgather("x", {1});
  gathered.tensors[0].dtype = DType::kComplex128;
  CHECK(Short(Agreements().Add(gathered, {}, {{3, 4}}).Plan()) ==
        Lines{"allgather complex128 3 4 completes 0"});
}

TEST_CASE("roots and absent ranks become places in the set", "[planner]") {
  const std::vector<int> ranks{2, 5, 7};
  const Request request = Broadcast("x", 7, {3});
  Response response = Agreed("x");
  response.absent = {5};
  const AgreedRequest agreed{&request, &response};
  const auto plan = Plan({&agreed, 1}, ranks, Limits{});
  REQUIRE(plan.size() == 1);
  CHECK(plan[0].bucket.root == 2);
  CHECK(plan[0].bucket.absent == std::vector<int>{1});
}

TEST_CASE("tensors that lack different ranks share no bucket", "[planner]") {
  const std::vector<int> ranks{0, 1, 2};
  const Request request = Allreduce("x", {4});
  Response all = Agreed("x"), lacking = Agreed("x"), other = Agreed("x");
  lacking.absent = {1};
  other.absent = {2};
  const std::vector<AgreedRequest> agreed{
      {&request, &all}, {&request, &lacking}, {&request, &other}, {&request, &lacking}};
  CHECK(Short(Plan(agreed, ranks, Limits{})) == Lines{"allreduce float32 4 completes 0",
                                                      "allreduce float32 8 completes 1 3",
                                                      "allreduce float32 4 completes 2"});
}

TEST_CASE("a join runs like a barrier", "[planner]") {
  Request join = Barrier("join");
  join.kind = OpKind::kJoin;
  const auto plan = Agreements().Add(Allreduce("a", {2})).Add(join).Add(Allreduce("b", {2})).Plan();
  CHECK(Short(plan) == Lines{"allreduce float32 2 completes 0", "barrier uint8 0 completes 1",
                             "allreduce float32 2 completes 2"});
}

namespace {

Request Prior(Request request, int32_t priority) {
  request.priority = priority;
  return request;
}

// The requests in the order in which they are completed.
std::vector<size_t> CompletedBy(const std::vector<PlannedBucket>& plan) {
  std::vector<size_t> order;
  for (const PlannedBucket& planned : plan)
    order.insert(order.end(), planned.completes.begin(), planned.completes.end());
  return order;
}

}  // namespace

TEST_CASE("higher priorities run sooner, equal ones in their order", "[planner]") {
  const auto placed = [](const char* name, int32_t priority) {
    return Prior(Allreduce(name, {3}), priority);
  };
  Agreements agreements;
  constexpr int32_t kPriorities[] = {0, 5, -7, 5, INT32_MAX, 0, INT32_MIN};
  for (const int32_t priority : kPriorities) agreements.Add(placed("x", priority), {0, 64});
  CHECK(CompletedBy(agreements.Plan()) == std::vector<size_t>{4, 1, 3, 0, 5, 2, 6});
}

TEST_CASE("no priority carries a request across a barrier or a join", "[planner]") {
  Request join = Barrier("j");
  join.kind = OpKind::kJoin;
  const auto plan = Agreements()
                        .Add(Prior(Allreduce("a"), 1), {0, 0})
                        .Add(Prior(Allreduce("b"), 2), {64, 64})
                        .Add(Prior(Barrier("c"), 9))
                        .Add(Prior(Allreduce("d"), 3), {128, 128})
                        .Add(join)
                        .Add(Prior(Allreduce("e"), 4), {0, 64})
                        .Add(Prior(Allreduce("f"), 8), {64, 0})
                        .Plan();
  CHECK(CompletedBy(plan) == std::vector<size_t>{1, 0, 2, 3, 4, 6, 5});
}

TEST_CASE("a shared bucket runs in the place of its most urgent tensor", "[planner]") {
  const auto plan = Agreements()
                        .Add(Typed("a", DType::kInt64, 1))
                        .Add(Allreduce("b", {3}))
                        .Add(Prior(Allreduce("c", {4}), 1), {0, 64})
                        .Add(Prior(Allreduce("d", {5}), 2))
                        .Plan();
  CHECK(Short(plan) == Lines{"allreduce float32 8 completes 3 1",
                             "allreduce float32 16 completes 2", "allreduce int64 1 completes 0"});
  REQUIRE(plan[0].slices.size() == 2);
  CHECK(plan[0].slices[0].agreed == 3);
  CHECK(plan[0].slices[1].agreed == 1);
}

}  // namespace rueda::control
