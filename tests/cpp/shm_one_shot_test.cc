// ShmOneShot: what ranks see of a meeting, and what each of them makes of it.
#include "backends/shm/shm_one_shot.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "seeds.h"
#include "shm_world.h"

namespace rueda::testing {
namespace {

using backends::OneShot;
using backends::ShmOneShot;
using Sight = OneShot::Sight;

// The meetings of a job whose ranks are told apart by the place in `ranks`.
struct Meetings {
  explicit Meetings(int size, int64_t most_bytes = kMostOneShotBytes)
      : arenas(size), groups(static_cast<size_t>(size)) {
    for (int rank = 0; rank < size; ++rank) {
      auto& group = groups[static_cast<size_t>(rank)];
      group = arenas.GroupOf(rank);
      ranks.push_back(std::make_unique<ShmOneShot>(&group, most_bytes));
    }
  }
  ShmOneShot& operator[](int rank) { return *ranks[static_cast<size_t>(rank)]; }

  ShmArenas arenas;
  std::vector<backends::ShmGroup> groups;
  std::vector<std::unique_ptr<ShmOneShot>> ranks;
};

Bucket SumOf(int64_t count, DType dtype) {
  Bucket bucket;
  bucket.kind = OpKind::kAllreduce;
  bucket.op = ReduceOp::kSum;
  bucket.dtype = dtype;
  bucket.counts = {count};
  return bucket;
}

BucketBuffers BuffersOf(std::vector<int32_t>* values) {
  const TensorView view{values->data(), static_cast<int64_t>(values->size()), DType::kInt32};
  return {{view}, {view}};
}

TEST_CASE("a meeting is agreed on when all want the same", "[shm][one-shot]") {
  Meetings meetings(3);
  std::vector<std::vector<int32_t>> values = {{1, 10}, {2, 20}, {3, 30}};
  for (int rank = 0; rank < 3; ++rank) CHECK(meetings[rank].Look() == Sight::kNobody);
  meetings[1].Come(7, BuffersOf(&values[1]));
  CHECK(meetings[0].Look() == Sight::kOthers);
  CHECK(meetings[1].Look() == Sight::kWaits);
  meetings[0].Come(7, BuffersOf(&values[0]));
  CHECK(meetings[0].Look() == Sight::kWaits);
  meetings[2].Come(7, BuffersOf(&values[2]));
  for (int rank = 0; rank < 3; ++rank) {
    CHECK(meetings[rank].Look() == Sight::kAgreed);
    meetings[rank].Reduce(SumOf(2, DType::kInt32), BuffersOf(&values[static_cast<size_t>(rank)]));
    CHECK(values[static_cast<size_t>(rank)] == std::vector<int32_t>{6, 60});
    CHECK(meetings[rank].Look() == Sight::kNobody);
  }
}

TEST_CASE("a meeting comes to nothing when somebody wants something else", "[shm][one-shot]") {
  Meetings meetings(2);
  std::vector<int32_t> values{5};
  meetings[0].Come(7, BuffersOf(&values));
  meetings[1].Come(8, BuffersOf(&values));
  CHECK(meetings[0].Look() == Sight::kApart);
  CHECK(meetings[0].Look() == Sight::kNobody);
  CHECK(meetings[1].Look() == Sight::kApart);
  CHECK(meetings[1].Look() == Sight::kNobody);
}

TEST_CASE("any rank may call a meeting off, until there is a verdict", "[shm][one-shot]") {
  Meetings meetings(3);
  std::vector<int32_t> values{5};
  meetings[0].Come(7, BuffersOf(&values));
  meetings[1].Come(7, BuffersOf(&values));
  const int who = GENERATE(0, 1, 2);
  CHECK(meetings[2].Look() == Sight::kOthers);
  meetings[who].CallOff();
  CHECK(meetings[2].Look() == Sight::kNobody);
  CHECK(meetings[0].Look() == Sight::kApart);
  CHECK(meetings[1].Look() == Sight::kApart);
  // The next one takes place.
  for (int rank = 0; rank < 3; ++rank) {
    CHECK(meetings[rank].Look() <= Sight::kOthers);
    meetings[rank].Come(9, BuffersOf(&values));
  }
  CHECK(meetings[0].Look() == Sight::kAgreed);
  meetings[1].CallOff();  // too late
  CHECK(meetings[1].Look() == Sight::kAgreed);
  CHECK(meetings[2].Look() == Sight::kAgreed);
}

TEST_CASE("calling off concerns the open meeting that a rank has seen", "[shm][one-shot]") {
  Meetings meetings(2);
  std::vector<int32_t> values{5};
  meetings[0].Come(7, BuffersOf(&values));
  CHECK(meetings[1].Look() == Sight::kOthers);
  meetings[0].CallOff();
  CHECK(meetings[0].Look() == Sight::kApart);
  meetings[0].Come(8, BuffersOf(&values));
  meetings[1].CallOff();  // the one before, as far as it knows
  CHECK(meetings[0].Look() == Sight::kWaits);
}

TEST_CASE("a rank that looks late knows what became of its meeting", "[shm][one-shot]") {
  Meetings meetings(2);
  const bool agrees = GENERATE(true, false);
  const int later = GENERATE(0, 1, 5);
  CAPTURE(agrees, later);
  std::vector<std::vector<int32_t>> values{{5}, {6}};
  for (int round = 0; round < 3; ++round) {
    for (int rank = 0; rank < 2; ++rank) {
      CHECK(meetings[rank].Look() == (rank == 0 ? Sight::kNobody : Sight::kOthers));
      meetings[rank].Come(agrees ? 1 : rank + 1, BuffersOf(&values[static_cast<size_t>(rank)]));
    }
    const Sight verdict = agrees ? Sight::kAgreed : Sight::kApart;
    CHECK(meetings[0].Look() == verdict);
    // The one that is done goes on, and gives up waiting for the other one.
    for (int i = 0; i < later; ++i) {
      std::vector<int32_t> other{100 + i};
      meetings[0].Come(1, BuffersOf(&other));
      CHECK(meetings[0].Look() == Sight::kWaits);
      meetings[0].CallOff();
      CHECK(meetings[0].Look() == Sight::kApart);
    }
    CHECK(meetings[1].Look() == verdict);
    if (!agrees) continue;
    std::vector<int32_t> sum(1);
    meetings[1].Reduce(SumOf(1, DType::kInt32),
                       {BuffersOf(&values[1]).inputs, BuffersOf(&sum).outputs});
    CHECK(sum == std::vector<int32_t>{11});
  }
}

TEST_CASE("what was shown before the end counts", "[shm][one-shot]") {
  Meetings meetings(2);
  std::vector<int32_t> first{5}, second{6};
  meetings[0].Come(7, BuffersOf(&first));
  meetings[1].Come(7, BuffersOf(&second));
  CHECK(meetings[0].Look() == Sight::kAgreed);
  meetings[0].Reduce(SumOf(1, DType::kInt32), BuffersOf(&first));
  meetings[0].End();
  CHECK(meetings[1].Look() == Sight::kAgreed);
  meetings[1].Reduce(SumOf(1, DType::kInt32), BuffersOf(&second));
  CHECK(second == std::vector<int32_t>{11});
  CHECK(meetings[1].Look() == Sight::kOver);
  CHECK(meetings[0].Look() == Sight::kOver);
}

TEST_CASE("who waits when meetings end does so in vain", "[shm][one-shot]") {
  Meetings meetings(3);
  std::vector<int32_t> values{5};
  meetings[0].Come(7, BuffersOf(&values));
  meetings[1].Come(7, BuffersOf(&values));
  CHECK(meetings[0].Look() == Sight::kWaits);
  meetings[2].End();
  CHECK(meetings[0].Look() == Sight::kApart);
  CHECK(meetings[1].Look() == Sight::kApart);
  CHECK(meetings[1].Look() == Sight::kOver);
}

TEST_CASE("a backend without one-shots ends all meetings", "[shm][one-shot]") {
  ShmArenas arenas(2);
  backends::ShmGroup none = arenas.GroupOf(0);
  none.one_shot_bytes = 0;
  const auto without = backends::MakeShmBackend(std::move(none));
  const auto with = backends::MakeShmBackend(arenas.GroupOf(1));
  CHECK(without->one_shot() == nullptr);
  REQUIRE(with->one_shot() != nullptr);
  CHECK(with->one_shot()->MostBytes() == kMostOneShotBytes);
  CHECK(with->one_shot()->Look() == Sight::kOver);
}

TEST_CASE("a rank alone, and a part of the ranks, have no meetings", "[shm][one-shot]") {
  ShmArenas alone(1);
  CHECK(backends::MakeShmBackend(alone.GroupOf(0))->one_shot() == nullptr);
  ShmArenas arenas(3);
  const auto whole = backends::MakeShmBackend(arenas.GroupOf(0));
  std::vector<int64_t> memory;
  for (const int rank : {0, 2}) memory.push_back(arenas.Place(rank, whole->SplitBytes()).offset);
  const auto part = whole->Split({5, {0, 2}, memory}).value();
  CHECK(part->one_shot() == nullptr);
  CHECK(whole->one_shot() != nullptr);
}

// The calls of a program, which all ranks make in this order; each comes to meetings until one
// agrees.
struct CallOf {
  uint64_t wish;
  int64_t count;
  CallOf(uint64_t seed, int call) {
    std::mt19937_64 random(seed * 1'000'003 + static_cast<uint64_t>(call));
    constexpr int64_t kCounts[] = {0, 1, 12, 13, 31, 1021, 4096};
    wish = static_cast<uint64_t>(call);
    count = kCounts[random() % std::size(kCounts)];
  }
};

int32_t ValueOf(int rank, int call, int64_t element) {
  return static_cast<int32_t>(rank * 1'000'000 + call * 100 + element % 97);
}

// What went wrong on this rank, "" if nothing did. Now and then it gives up, as one that has waited
// for long, or calls off what others are at, or wants what nobody else does.
std::string MakeCalls(Meetings& meetings, uint64_t seed, int rank, int calls) {
  ShmOneShot& own = meetings[rank];
  const auto size = static_cast<int>(meetings.ranks.size());
  std::mt19937_64 random(seed + static_cast<uint64_t>(rank));
  const TimePoint deadline = Patience();
  for (int number = 0; number < calls;) {
    const CallOf call(seed, number);
    std::vector<int32_t> values(static_cast<size_t>(call.count));
    for (int64_t i = 0; i < call.count; ++i) {
      values[static_cast<size_t>(i)] = ValueOf(rank, number, i);
    }
    if (random() % 16 == 0) own.Look(), own.CallOff();
    own.Look();
    const bool is_odd_one = random() % 32 == 0;
    own.Come(call.wish + (is_odd_one ? 1'000'000 + static_cast<uint64_t>(rank) : 0),
             BuffersOf(&values));
    Sight sight = own.Look();
    for (; sight == Sight::kWaits; sight = own.Look()) {
      if (random() % 64 == 0) own.CallOff();
      std::this_thread::yield();
      if (SteadyClock().Now() > deadline) return "others did not come";
    }
    if (sight == Sight::kApart) continue;
    if (sight != Sight::kAgreed || is_odd_one) return "not what can be";
    std::vector<int32_t> sums(values.size());
    own.Reduce(SumOf(call.count, DType::kInt32),
               {BuffersOf(&values).inputs, BuffersOf(&sums).outputs});
    for (int64_t i = 0; i < call.count; ++i) {
      int32_t expected = 0;
      for (int other = 0; other < size; ++other) expected += ValueOf(other, number, i);
      if (sums[static_cast<size_t>(i)] != expected) {
        return "element " + std::to_string(i) + " of call " + std::to_string(number);
      }
    }
    ++number;
  }
  return "";
}

TEST_CASE("all ranks agree on the same calls, whoever gives up when", "[shm][one-shot]") {
  const int size = GENERATE(2, 3, 4);
  const auto seed = GENERATE(range(uint64_t{0}, SeedsOf(uint64_t{6})));
  CAPTURE(size, seed);
  Meetings meetings(size);
  std::vector<std::string> wrong(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      wrong[static_cast<size_t>(rank)] = MakeCalls(meetings, seed, rank, kSanitized ? 200 : 1000);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& one : wrong) CHECK(one == "");
}

TEST_CASE("a one-shot adds as a bucket does", "[shm][one-shot]") {
  constexpr int kSize = 3;
  const auto dtype = GENERATE(DType::kFloat32, DType::kBFloat16, DType::kInt8, DType::kFloat64);
  const auto op = GENERATE(ReduceOp::kSum, ReduceOp::kAverage, ReduceOp::kMax);
  const int64_t count = GENERATE(1, 5, 6, 7, 24, 25, 2047);
  CAPTURE(NameOf(dtype), NameOf(op), count);
  Bucket bucket = SumOf(count, dtype);
  bucket.op = op;
  bucket.divisor = op == ReduceOp::kAverage ? kSize : 1;
  bucket.postscale = 0.7;
  const auto bytes = static_cast<size_t>(count) * SizeOf(dtype);

  std::mt19937 random(3);
  std::vector<std::vector<uint8_t>> inputs(kSize, std::vector<uint8_t>(bytes));
  for (auto& input : inputs) {
    // Patterns that are small numbers in every dtype here.
    for (uint8_t& byte : input) byte = static_cast<uint8_t>(random() % 64);
  }
  const auto buffers_of = [&](std::vector<uint8_t>& in, std::vector<uint8_t>& out) {
    return BucketBuffers{{{in.data(), count, dtype}}, {{out.data(), count, dtype}}};
  };
  std::vector<std::vector<uint8_t>> sums(kSize, std::vector<uint8_t>(bytes)), usual = sums;
  Meetings meetings(kSize);
  for (int rank = 0; rank < kSize; ++rank) {
    meetings[rank].Come(1, buffers_of(inputs[static_cast<size_t>(rank)], sums[0]));
  }
  BackendWorld world = ShmWorld(kSize);
  const auto statuses = OnEachRank(kSize, [&](int rank) {
    const auto at = static_cast<size_t>(rank);
    return RunBucket(world, rank, bucket, buffers_of(inputs[at], usual[at]));
  });
  REQUIRE(FirstFailure(statuses).empty());
  for (int rank = 0; rank < kSize; ++rank) {
    const auto at = static_cast<size_t>(rank);
    REQUIRE(meetings[rank].Look() == Sight::kAgreed);
    meetings[rank].Reduce(bucket, buffers_of(inputs[at], sums[at]));
    CHECK(sums[at] == usual[at]);
  }
}

}  // namespace
}  // namespace rueda::testing
