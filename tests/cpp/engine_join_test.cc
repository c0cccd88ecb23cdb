// Join: ranks that are out of data are absent until all are, on both roads.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "status_text.h"
#include "thread_job.h"

namespace rueda::testing {
namespace {

struct Joined {
  Status status;
  int64_t last = -1;
};

Joined Join(engine::Engine& engine) {
  auto request = std::make_shared<control::Request>();
  request->kind = OpKind::kJoin;
  request->name = "join";
  request->transient = true;
  const auto ticket = engine.Submit({request, {}, nullptr, true});
  const Status status = Finish(engine, ticket);
  return {status, status.ok() ? (*ticket)->number() : -1};
}

// Numbers whose sums are exact in any order.
std::vector<float> ValuesOf(int rank, int step, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>((rank + 1) * (static_cast<int>(i % 13) - 5) + step);
  }
  return values;
}

constexpr int64_t kCounts[] = {0, 1, 17, 8'193, 300'007};

// One step of what ranks do that have data; `ranks` are those. What is wrong, or "".
std::string Step(engine::Engine& engine, const std::vector<int>& ranks, int step) {
  const int own = engine.topology().rank;
  const int size = engine.topology().size;
  const int64_t count = kCounts[step % 5];
  const std::string name = "x" + std::to_string(step % 7);
  std::vector<float> values = ValuesOf(own, step, count);
  auto request = std::make_shared<control::Request>(*RequestFor(name, count));
  request->op = step % 2 == 0 ? ReduceOp::kSum : ReduceOp::kAverage;
  const Status reduced = ReduceInPlace(engine, request, &values);
  if (!reduced.ok()) return reduced.message();
  std::vector<float> expected(values.size(), 0.0f);
  for (const int rank : ranks) {
    const std::vector<float> theirs = ValuesOf(rank, step, count);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += theirs[i];
  }
  for (float& one : expected) one = step % 2 == 0 ? one : one / static_cast<float>(size);
  if (values != expected) return "step " + std::to_string(step) + ": a wrong sum";

  // A gather of one row a rank, and a broadcast from the first that is there.
  std::vector<float> row(3, static_cast<float>(own));
  const auto gather = engine.Submit({RequestFor("rows", 3, DType::kFloat32, OpKind::kAllgather),
                                     {{{row.data(), 3, DType::kFloat32}}, {}},
                                     nullptr,
                                     true});
  const Status gathered = Finish(engine, gather);
  if (!gathered.ok()) return gathered.message();
  const engine::OwnedResult& result = (*gather)->results().front();
  if (result.bytes != static_cast<int64_t>(ranks.size() * 3 * sizeof(float))) return "bytes";
  for (size_t i = 0; i < ranks.size(); ++i) {
    const auto* at = reinterpret_cast<const float*>(result.data.get()) + 3 * i;
    if (at[0] != static_cast<float>(ranks[i]) || at[2] != at[0]) return "a wrong row";
  }
  auto broadcast = RequestFor("root", 5, DType::kFloat32, OpKind::kBroadcast);
  broadcast->root = ranks.front();
  std::vector<float> given(5, static_cast<float>(own));
  const Status sent = ReduceInPlace(engine, broadcast, &given);
  if (!sent.ok()) return sent.message();
  if (given != std::vector<float>(5, static_cast<float>(ranks.front()))) return "a wrong root";
  return WaitAtBarrier(engine, "all that are left").message();
}

// Each rank has its own number of steps in each epoch of data, and joins after the last.
std::string Train(engine::Engine& engine, uint64_t seed) {
  std::mt19937_64 random(seed);
  const int size = engine.topology().size;
  for (int epoch = 0; epoch < 4; ++epoch) {
    std::vector<int> steps;
    for (int rank = 0; rank < size; ++rank) steps.push_back(static_cast<int>(random() % 8));
    const int own = steps[static_cast<size_t>(engine.topology().rank)];
    for (int step = 0; step < own; ++step) {
      std::vector<int> ranks;
      for (int rank = 0; rank < size; ++rank) {
        if (step < steps[static_cast<size_t>(rank)]) ranks.push_back(rank);
      }
      std::string wrong = Step(engine, ranks, step);
      if (!wrong.empty()) return "epoch " + std::to_string(epoch) + ": " + wrong;
    }
    const Joined joined = Join(engine);
    if (!joined.status.ok()) return joined.status.message();
    const int last = steps[static_cast<size_t>(joined.last)];
    if (last != *std::max_element(steps.begin(), steps.end())) return "the last one was not last";
  }
  return {};
}

TEST_CASE("ranks with less data than others join, and nobody waits for them", "[engine]") {
  const int size = GENERATE(1, 2, 3, 4);
  const std::string backend = GENERATE("shm", "gloo");
  const uint64_t seed = GENERATE(range(0, 4));
  CAPTURE(size, backend, seed);
  Config config;
  config.backend = backend;
  ThreadJob job(size, config);
  const auto wrong = job.ForEachRank([&](int rank) { return Train(job.engine(rank), seed); });
  for (const std::string& one : wrong) CHECK(one == "");
}

TEST_CASE("a sum without some ranks has the bits of the tree with zeros there", "[engine]") {
  ThreadJob job(4);
  const float values[] = {1.0e8f, 3.0f, -1.0e8f, 7.0f};
  const auto sums = job.ForEachRank([&](int rank) {
    std::vector<float> own(10'000, values[rank]);
    if (rank == 1) return Join(job.engine(rank)).status.ok() ? 0.0f : -1.0f;
    const Status status = ReduceInPlace(job.engine(rank), RequestFor("x", 10'000), &own);
    return status.ok() && Join(job.engine(rank)).status.ok() ? own[9'999] : -1.0f;
  });
  // (1e8 + 0) + (-1e8 + 7): the two big ones do not meet first.
  const float tree = (1.0e8f + 0.0f) + (-1.0e8f + 7.0f);
  for (const int rank : {0, 2, 3}) CHECK(sums[static_cast<size_t>(rank)] == tree);
}

}  // namespace
}  // namespace rueda::testing
