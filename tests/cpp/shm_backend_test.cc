// The shm backend: the backend contract, bit for bit in the canonical order, and what only it does.
#include "backends/shm/shm_backend.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backend_contract.h"
#include "deadline.h"
#include "shm_world.h"
#include "status_text.h"

namespace rueda::testing {
namespace {

BackendFixture ShmFixture() { return {ShmWorld, /*canonical=*/true}; }

// What a rank has in the round of a program, as a number that every rank can compute.
int32_t ValueOf(int rank, int round, int64_t element) {
  return static_cast<int32_t>(rank * 1'000 + round * 7 + element % 911);
}

// One allreduce, broadcast or allgather of int32 with whatever memory, and its right result.
struct Round {
  Bucket bucket;
  int64_t count;

  int32_t Expected(int size, int round, int64_t element) const {
    if (bucket.kind == OpKind::kBroadcast) return ValueOf(bucket.root, round, element);
    if (bucket.kind == OpKind::kAllgather) {
      return ValueOf(static_cast<int>(element / count), round, element % count);
    }
    int32_t sum = 0;
    for (int rank = 0; rank < size; ++rank) sum += ValueOf(rank, round, element);
    return sum;
  }
};

Round RandomRound(std::mt19937_64& random, int size, int64_t most) {
  constexpr OpKind kKinds[] = {OpKind::kAllreduce, OpKind::kAllreduce, OpKind::kBroadcast,
                               OpKind::kAllgather};
  const OpKind kind = kKinds[random() % std::size(kKinds)];
  Round round{MovingBucket(kind, DType::kInt32),
              1 + static_cast<int64_t>(random() % static_cast<uint64_t>(most))};
  if (kind == OpKind::kBroadcast) {
    round.bucket.root = static_cast<int>(random() % static_cast<uint64_t>(size));
  }
  const bool gathers = kind == OpKind::kAllgather;
  round.bucket.counts.assign(gathers ? static_cast<size_t>(size) : 1, round.count);
  return round;
}

// Runs the rounds on one rank. As soon as one is done its tensors are the caller's again (I4): they
// are overwritten at once, which must reach nobody.
Status RunRounds(BackendWorld& world, int rank, const std::vector<Round>& rounds) {
  for (size_t i = 0; i < rounds.size(); ++i) {
    const Round& round = rounds[i];
    const int number = static_cast<int>(i);
    const auto parts = static_cast<int64_t>(round.bucket.counts.size());
    std::vector<int32_t> input(static_cast<size_t>(round.count));
    std::vector<int32_t> output(static_cast<size_t>(round.count * parts));
    for (int64_t e = 0; e < round.count; ++e) {
      input[static_cast<size_t>(e)] = ValueOf(rank, number, e);
    }
    const TensorView in{input.data(), round.count, DType::kInt32};
    const TensorView out{output.data(), round.count * parts, DType::kInt32};
    RUEDA_RETURN_IF_ERROR(RunBucket(world, rank, round.bucket, {{in}, {out}}));
    std::fill(input.begin(), input.end(), -1);
    for (int64_t e = 0; e < round.count * parts; ++e) {
      if (output[static_cast<size_t>(e)] == round.Expected(world.size(), number, e)) continue;
      return {StatusCode::kCorrupt,
              "round " + std::to_string(i) + ": element " + std::to_string(e) + " is wrong"};
    }
    std::fill(output.begin(), output.end(), -1);
  }
  return Status::Ok();
}

// Runs rounds of up to `most` elements on ranks that hurry and dawdle in turn.
void RunProgram(int size, uint64_t seed, int count, int64_t most) {
  CAPTURE(size, seed, count, most);
  const Deadline deadline("a program of rounds");
  std::mt19937_64 random(seed);
  std::vector<Round> rounds;
  for (int i = 0; i < count; ++i) rounds.push_back(RandomRound(random, size, most));
  BackendWorld world = ShmWorld(size);
  CHECK(FirstFailure(OnEachRank(size, [&](int rank) { return RunRounds(world, rank, rounds); })) ==
        "");
}

}  // namespace

RUEDA_BACKEND_CONTRACT("shm", ShmFixture())

TEST_CASE("shm: buckets of every dtype and many sizes are reduced in place in the arenas") {
  const Deadline deadline("buckets in place");
  const int size = GENERATE(1, 2, 3, 4);
  const int dtype = GENERATE(range(0, kReducibleDTypeCount));
  CAPTURE(size, dtype);
  const auto element = static_cast<int64_t>(SizeOf(static_cast<DType>(dtype)));
  BackendWorld world = ShmWorld(size);
  std::vector<BackendCase> cases;
  std::vector<int64_t> counts{0, 1, 997, 524'288 / element + 1};
  if (dtype % 4 == 0) {  // several units of all ranks' slices
    counts.insert(counts.end(), {1'048'576 / element * size + 1, 3'145'700 / element});
  }
  for (const int64_t count : counts) {
    const ReduceOp op = kAllReduceOps[cases.size() % std::size(kAllReduceOps)];
    cases.emplace_back(AllreduceBucket(static_cast<DType>(dtype), op, size), std::vector{count},
                       Memory::kPlaced, cases.size());
  }
  CHECK(RunCases(ShmFixture(), world, cases) == "");
}

TEST_CASE("shm: placed and private buckets take turns") {
  const Deadline deadline("placed and private in turns");
  const int size = GENERATE(2, 3, 4);
  CAPTURE(size);
  BackendWorld world = ShmWorld(size);
  std::mt19937_64 random(31);
  std::vector<BackendCase> cases;
  for (int i = 0; i < 60; ++i) {
    const auto memory = static_cast<Memory>(i % 3);
    const auto count = static_cast<int64_t>(random() % (i % 10 == 0 ? 400'000 : 3'000));
    cases.emplace_back(AllreduceBucket(DType::kFloat32, ReduceOp::kAverage, size),
                       std::vector{count}, memory, random());
  }
  CHECK(RunCases(ShmFixture(), world, cases) == "");
}

TEST_CASE("shm: tensors are the caller's again as soon as a run is done") {
  const int size = GENERATE(2, 3, 4);
  const uint64_t seed = GENERATE(1u, 2u);
  RunProgram(size, seed, 25, 200'000);
}

TEST_CASE("shm: runs more units than the ring remembers") {
  const int size = GENERATE(2, 4);
  RunProgram(size, 3, 2'500, 20);
}

// A root waits for nobody, so it may be buckets ahead of who is still to read its tiny ones.
TEST_CASE("shm: tiny buckets keep their values for who comes late") {
  constexpr int kSize = 2;
  const ShmArenas arenas(kSize);
  std::vector<std::unique_ptr<backends::Backend>> backends;
  for (int rank = 0; rank < kSize; ++rank) {
    backends.push_back(backends::MakeShmBackend(arenas.GroupOf(rank)));
  }
  Bucket sum = AllreduceBucket(DType::kInt32, ReduceOp::kSum, kSize);
  sum.counts = {12};
  Bucket copy = MovingBucket(OpKind::kBroadcast, DType::kInt32, 0);
  copy.counts = {1};
  using Values = std::vector<int32_t>;
  std::vector<BucketBuffers> buffers(kSize);  // of the run under way
  const auto begin = [&](size_t rank, const Bucket& bucket, Values& values) {
    const TensorView view{values.data(), bucket.counts[0], DType::kInt32};
    buffers[rank] = {{view}, {view}};
    return *backends[rank]->Begin(bucket, buffers[rank]);
  };
  for (int round = 1; round < 6; ++round) {
    Values first(12, round), second(12, 10 * round), root{7}, other{0}, next(12, -round);
    backends::Run* const late = begin(1, sum, second);
    CHECK(*late->Step() == backends::Progress::kMoved);
    CHECK(*begin(0, sum, first)->Step() == backends::Progress::kDone);
    CHECK(first == Values(12, 11 * round));
    backends::Run* copies = begin(0, copy, root);
    while (*copies->Step() != backends::Progress::kDone) {
    }
    backends::Run* const ahead = begin(0, sum, next);
    CHECK(*ahead->Step() == backends::Progress::kMoved);
    CHECK(*ahead->Step() == backends::Progress::kWaiting);
    CHECK(*late->Step() == backends::Progress::kDone);
    CHECK(second == Values(12, 11 * round));
    copies = begin(1, copy, other);
    while (*copies->Step() != backends::Progress::kDone) {
    }
    CHECK(other == Values{7});
    second.assign(12, 100);
    CHECK(*begin(1, sum, second)->Step() == backends::Progress::kDone);
    CHECK(*ahead->Step() == backends::Progress::kDone);
    CHECK(next == Values(12, 100 - round));
  }
}

TEST_CASE("shm: among tiny tensors an empty one needs no memory") {
  const Deadline deadline("an empty tensor among tiny ones");
  const int size = GENERATE(1, 2, 3, 4);
  BackendWorld world = ShmWorld(size);
  Bucket bucket = AllreduceBucket(DType::kInt32, ReduceOp::kSum, size);
  bucket.counts = {3};
  const auto sums = OnEachRank(size, [&](int rank) -> Status {
    std::vector<int32_t> first{rank}, rest{10, 20};
    const std::vector<TensorView> tensors{{nullptr, 0, DType::kInt32},
                                          {first.data(), 1, DType::kInt32},
                                          {nullptr, 0, DType::kInt32},
                                          {rest.data(), 2, DType::kInt32}};
    RUEDA_RETURN_IF_ERROR(RunBucket(world, rank, bucket, {tensors, tensors}));
    const bool right =
        first == std::vector{size * (size - 1) / 2} && rest == std::vector{10 * size, 20 * size};
    return right ? Status::Ok() : Status(StatusCode::kCorrupt, "a sum is wrong");
  });
  CHECK(FirstFailure(sums) == "");
}

TEST_CASE("shm: an allreduce in place leaves what lies around its bucket alone") {
  const Deadline deadline("around a bucket");
  constexpr int kSize = 3;
  constexpr int64_t kCount = 100'003, kAround = 64;
  const ShmArenas arenas(kSize);
  Bucket bucket = AllreduceBucket(DType::kUInt8, ReduceOp::kMax, kSize);
  bucket.counts = {kCount};
  std::vector<PlacedMemory> memory;
  std::vector<std::unique_ptr<backends::Backend>> backends;
  for (int rank = 0; rank < kSize; ++rank) {
    memory.push_back(arenas.Place(rank, kCount + 2 * kAround));
    std::fill_n(memory.back().data.get(), kCount + 2 * kAround, static_cast<uint8_t>(rank + 1));
    bucket.placements.push_back(memory.back().offset + kAround);
    backends.push_back(backends::MakeShmBackend(arenas.GroupOf(rank)));
  }
  CHECK(FirstFailure(OnEachRank(kSize, [&](int rank) -> Status {
          const auto index = static_cast<size_t>(rank);
          const TensorView view{memory[index].data.get() + kAround, kCount, DType::kUInt8};
          const BucketBuffers buffers{{view}, {view}};
          Result<backends::Run*> run = backends[index]->Begin(bucket, buffers);
          if (!run.ok()) return run.status();
          return arenas.Drive(rank, **run, Patience());
        })) == "");
  for (int rank = 0; rank < kSize; ++rank) {
    const uint8_t* data = memory[static_cast<size_t>(rank)].data.get();
    const auto own = static_cast<uint8_t>(rank + 1);
    const auto is = [](uint8_t value) { return [value](uint8_t byte) { return byte == value; }; };
    CHECK(std::all_of(data, data + kAround, is(own)));
    CHECK(std::all_of(data + kAround, data + kAround + kCount, is(kSize)));
    CHECK(std::all_of(data + kAround + kCount, data + 2 * kAround + kCount, is(own)));
  }
}

TEST_CASE("shm: a run tells whom it waits for") {
  constexpr int kSize = 3;
  const auto kind = GENERATE(OpKind::kAllreduce, OpKind::kBarrier, OpKind::kBroadcast);
  CAPTURE(static_cast<int>(kind));
  const ShmArenas arenas(kSize);
  Bucket bucket = MovingBucket(kind, DType::kFloat32, kind == OpKind::kBroadcast ? 2 : -1);
  const int64_t count = GENERATE(1, 100'000);
  bucket.counts = {kind == OpKind::kBarrier ? 0 : count};
  std::vector<float> data(100'000);
  const TensorView view{data.data(), bucket.counts[0], DType::kFloat32};
  const BucketBuffers buffers{{view}, {view}};
  std::vector<std::unique_ptr<backends::Backend>> backends;
  for (int rank = 0; rank < kSize; ++rank) {
    backends.push_back(backends::MakeShmBackend(arenas.GroupOf(rank)));
  }
  // Ranks 0 and 1 go as far as they can; rank 2 does not come.
  std::vector<backends::Run*> runs;
  for (size_t rank = 0; rank < 2; ++rank) runs.push_back(*backends[rank]->Begin(bucket, buffers));
  bool moved = true;
  while (moved) {
    moved = false;
    for (backends::Run* run : runs) moved |= *run->Step() == backends::Progress::kMoved;
  }
  for (backends::Run* run : runs) CHECK(run->WaitsFor() == std::vector<int>{2});
}

TEST_CASE("shm: the first abort is the reason, whatever comes later and whoever steps") {
  const Deadline deadline("aborts from threads");
  const Status first = Status(StatusCode::kPeerLost, "the first").Blame(1);
  BackendWorld world = ShmWorld(2);
  world.backends[0]->Abort(first);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { world.backends[0]->Abort({StatusCode::kSystem, "a later one"}); });
  }
  std::vector<float> data(10);
  const TensorView view{data.data(), 10, DType::kFloat32};
  Bucket bucket = AllreduceBucket(DType::kFloat32, ReduceOp::kSum, 2);
  bucket.counts = {10};
  CHECK(RunBucket(world, 0, bucket, {{view}, {view}}) == first);
  for (std::thread& thread : threads) thread.join();
  CHECK(RunBucket(world, 0, bucket, {{view}, {view}}) == first);
}

}  // namespace rueda::testing
