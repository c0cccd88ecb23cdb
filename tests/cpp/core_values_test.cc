// The small values of core: statuses, texts, dtypes, operations, topology, the manual clock.
#include <catch2/catch.hpp>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "core/bucket.h"
#include "core/clock.h"
#include "core/dtype.h"
#include "core/recycled.h"
#include "core/status.h"
#include "core/text.h"
#include "core/types.h"
#include "status_text.h"

namespace rueda {
namespace {

struct Numbered {
  int number = 0;
  std::string text;

  void Clear() { *this = {}; }
};

TEST_CASE("a recycled row is found by a member, and as good as new once it is empty",
          "[recycled]") {
  Recycled<Numbered> row;
  for (const int number : {7, 0, 7, 3}) row.FindOrAdd(&Numbered::number, number).text += 'x';
  REQUIRE(row.size() == 3);
  CHECK(row.begin()->number == 7);
  CHECK(row.begin()->text == "xx");
  row.Clear();
  CHECK(row.size() == 0);
  // A spare one that had the number before is none of the row's.
  CHECK(row.FindOrAdd(&Numbered::number, 0).text.empty());
  CHECK(row.FindOrAdd(&Numbered::number, 7).text.empty());
  CHECK(row.size() == 2);
}

TEST_CASE("a status is ok until it says why not", "[status]") {
  CHECK(Status().ok());
  CHECK(Status::Ok() == Status());
  const Status lost = Status(StatusCode::kPeerLost, "rank 3 died").Blame(3);
  CHECK_FALSE(lost.ok());
  CHECK(lost.code() == StatusCode::kPeerLost);
  CHECK(lost.message() == "rank 3 died");
  CHECK(lost.blamed_rank() == 3);
  CHECK(Status(StatusCode::kSystem, "x").blamed_rank() == -1);
}

TEST_CASE("statuses are equal if code, words and blame are", "[status]") {
  const Status one = Status(StatusCode::kPeerLost, "a").Blame(1);
  CHECK(one == Status(StatusCode::kPeerLost, "a").Blame(1));
  CHECK_FALSE(one == Status(StatusCode::kPeerLost, "a").Blame(2));
  CHECK_FALSE(one == Status(StatusCode::kPeerLost, "b").Blame(1));
  CHECK_FALSE(one == Status(StatusCode::kTimedOut, "a").Blame(1));
}

TEST_CASE("codes have stable names, and errno becomes words", "[status]") {
  CHECK(CodeName(StatusCode::kMismatch) == "R201");
  CHECK(CodeName(StatusCode::kPeerLost) == "R301");
  CHECK(CodeName(StatusCode::kCorrupt) == "R402");
  const Status status = SystemError("cannot open it", ENOENT);
  CHECK(status.code() == StatusCode::kSystem);
  CHECK(status.message() == "cannot open it: No such file or directory");
}

TEST_CASE("a result is a value or a status", "[status]") {
  Result<std::unique_ptr<int>> value(std::make_unique<int>(7));
  REQUIRE(value.ok());
  CHECK(value.status() == Status());
  CHECK(**value == 7);
  const std::unique_ptr<int> taken = std::move(value).value();
  CHECK(*taken == 7);
  const Result<int> error(Status(StatusCode::kSystem, "no"));
  CHECK_FALSE(error.ok());
  CHECK(error.status().message() == "no");
}

Status FailsIf(bool fails, int* reached) {
  RUEDA_RETURN_IF_ERROR(fails ? Status(StatusCode::kSystem, "first") : Status());
  ++*reached;
  return Status::Ok();
}

TEST_CASE("the first error leaves the function", "[status]") {
  int reached = 0;
  CHECK(FailsIf(false, &reached).ok());
  CHECK(FailsIf(true, &reached).message() == "first");
  CHECK(reached == 1);
}

TEST_CASE("the nearest name is the one with the fewest edits, if it is near", "[text]") {
  const std::vector<std::string> names{"allreduce", "allgather", "broadcast"};
  CHECK(NearestName("allreduce", names) == "allreduce");
  CHECK(NearestName("alreduce", names) == "allreduce");
  CHECK(NearestName("allgahter", names) == "allgather");
  CHECK(NearestName("broadkastt", names) == "broadcast");
  CHECK_FALSE(NearestName("barrier", names).has_value());
  CHECK_FALSE(NearestName("", names).has_value());
  CHECK_FALSE(NearestName("x", {}).has_value());
  // At most a third of the word's length away, and no more.
  CHECK(NearestName("abcdef", {"abcdxy"}) == "abcdxy");
  CHECK_FALSE(NearestName("abcdef", {"abcxyz"}).has_value());
  // The first of equals, so that the answer does not depend on anything else.
  CHECK(NearestName("abc", {"abd", "abe"}) == "abd");
}

TEST_CASE("sizes are written as people read them", "[text]") {
  CHECK(FormatBytes(0) == "0 B");
  CHECK(FormatBytes(7) == "7 B");
  CHECK(FormatBytes(1'023) == "1023 B");
  CHECK(FormatBytes(1'024) == "1 KiB");
  CHECK(FormatBytes(1'536) == "1.5 KiB");
  CHECK(FormatBytes(int64_t{64} << 20) == "64 MiB");
  CHECK(FormatBytes(int64_t{3} << 30) == "3 GiB");
  CHECK(FormatBytes(int64_t{64} << 40) == "64 TiB");
}

TEST_CASE("every dtype has a size and a name of its own", "[types]") {
  std::set<std::string_view> names;
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    CHECK(IsValid(dtype));
    CHECK(names.insert(NameOf(dtype)).second);
    const size_t size = SizeOf(dtype);
    CHECK((size == 1 || size == 2 || size == 4 || size == 8 || size == 16));
    // The bits in its name are its size.
    const size_t at = NameOf(dtype).find_first_of("0123456789");
    if (at != std::string_view::npos) {
      CHECK(std::stoul(std::string(NameOf(dtype).substr(at))) == 8 * size);
    }
  }
  CHECK_FALSE(IsValid(static_cast<DType>(kDTypeCount)));
  CHECK(SizeOf(DType::kBool) == 1);
  CHECK(IsFloating(DType::kBFloat16));
  CHECK_FALSE(IsFloating(DType::kInt64));
  CHECK(TensorView{nullptr, 3, DType::kFloat64}.bytes() == 24);
}

TEST_CASE("operations have names, unknown ones say so", "[types]") {
  CHECK(NameOf(OpKind::kAllreduce) == "allreduce");
  CHECK(NameOf(OpKind::kBarrier) == "barrier");
  CHECK(NameOf(static_cast<OpKind>(kOpKindCount)) == "unknown operation");
  for (const ReduceOp op :
       {ReduceOp::kAverage, ReduceOp::kSum, ReduceOp::kMin, ReduceOp::kMax, ReduceOp::kProduct}) {
    CHECK(IsValid(op));
  }
  CHECK_FALSE(IsValid(static_cast<ReduceOp>(2)));  // Horovod's Adasum
  CHECK_FALSE(IsValid(static_cast<ReduceOp>(6)));
}

TEST_CASE("a rank is described by what is known of it", "[types]") {
  Topology topology;
  CHECK(topology.Describe(2) == "rank 2");
  topology.peers = {{"node7", 4711}, {"node8", 0}};
  CHECK(topology.Describe(0) == "rank 0 (pid 4711 on node7)");
  CHECK(topology.Describe(1) == "rank 1");
  CHECK(topology.Describe(2) == "rank 2");
  CHECK(topology.Describe(-1) == "rank -1");
}

TEST_CASE("a bucket is in place if it is placed", "[types]") {
  Bucket bucket;
  CHECK_FALSE(bucket.in_place());
  bucket.placements = {0, 64};
  CHECK(bucket.in_place());
}

TEST_CASE("a manual clock moves only when it is told", "[clock]") {
  ManualClock clock;
  const TimePoint start = clock.Now();
  CHECK(clock.Now() == start);
  clock.Advance(std::chrono::milliseconds(3));
  CHECK(clock.Now() - start == std::chrono::milliseconds(3));
  const SteadyClock steady;
  const TimePoint before = steady.Now();
  CHECK(steady.Now() >= before);
}

}  // namespace
}  // namespace rueda
