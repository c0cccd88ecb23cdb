// Process sets of an engine: added and removed while others work, and independent of each other.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/process_sets.h"
#include "engine_fakes.h"
#include "status_text.h"
#include "thread_job.h"

namespace rueda::testing {
namespace {

using Values = std::vector<int32_t>;

std::shared_ptr<control::Request> SetRequest(OpKind kind, const std::string& name,
                                             std::vector<int64_t> parts) {
  auto request = std::make_shared<control::Request>();
  request->kind = kind;
  request->name = name;
  request->parts = std::move(parts);
  request->transient = true;
  return request;
}

struct Added {
  Status status;
  uint32_t id = 0;
};

Added AddSet(engine::Engine& engine, const std::string& name, std::vector<int64_t> ranks) {
  const auto ticket = engine.Submit(
      {SetRequest(OpKind::kAddProcessSet, name, std::move(ranks)), {}, nullptr, true});
  const Status status = Finish(engine, ticket);
  return {status, status.ok() ? static_cast<uint32_t>((*ticket)->number()) : 0};
}

// Members first make sure that nothing of the set is in flight.
Status RemoveSet(engine::Engine& engine, uint32_t id, bool member) {
  const std::string name = "remove " + std::to_string(id);
  if (member) {
    auto barrier = BarrierRequest(name);
    barrier->process_set = id;
    const Status status = Finish(engine, engine.Submit({barrier, {}, nullptr, true}));
    if (!status.ok()) return status;
  }
  return Finish(
      engine,
      engine.Submit({SetRequest(OpKind::kRemoveProcessSet, name, {id}), {}, nullptr, true}));
}

Status SumIn(engine::Engine& engine, uint32_t set, const std::string& name, Values* values) {
  auto request = RequestFor(name, static_cast<int64_t>(values->size()), DType::kInt32);
  request->process_set = set;
  return ReduceInPlace(engine, request, values);
}

bool IsIn(const std::vector<int64_t>& ranks, int rank) {
  return std::find(ranks.begin(), ranks.end(), rank) != ranks.end();
}

// What is wrong with one life of a set of `ranks`, as `rank` sees it; "" if nothing.
std::string LiveThrough(engine::Engine& engine, const std::vector<int64_t>& ranks, int round) {
  const int rank = engine.topology().rank;
  const Added added = AddSet(engine, "add", ranks);
  if (!added.status.ok()) return added.status.message();
  if (added.id != static_cast<uint32_t>(round + 1)) return "another number";
  const bool member = IsIn(ranks, rank);
  int32_t sum = 0;
  for (const int64_t one : ranks) sum += static_cast<int32_t>(one) + 1;
  for (const size_t count : {size_t{1}, size_t{100}, size_t{300'000}}) {
    Values values(count, rank + 1);
    if (!member) break;
    // The same name in every set, and in the set of all.
    const Status status = SumIn(engine, added.id, "x", &values);
    if (!status.ok()) return status.message();
    if (values != Values(count, sum)) return "a wrong sum";
  }
  Values all(10, 1);
  const Status status = SumIn(engine, 0, "x", &all);
  if (!status.ok() || all != Values(10, engine.topology().size)) return "the set of all is wrong";
  return RemoveSet(engine, added.id, member).message();
}

TEST_CASE("sets come and go, and the others do not notice", "[engine]") {
  const std::string backend = GENERATE("shm", "gloo");
  CAPTURE(backend);
  Config config;
  config.backend = backend;
  ThreadJob job(4, config);
  const std::vector<std::vector<int64_t>> sets{{0, 1}, {2, 1}, {3}, {0, 2, 3}, {1, 3}};
  const auto wrong = job.ForEachRank([&](int rank) {
    std::string first;
    for (int round = 0; round < 40 && first.empty(); ++round) {
      first = LiveThrough(job.engine(rank), sets[static_cast<size_t>(round) % sets.size()], round);
    }
    return first;
  });
  for (const std::string& one : wrong) CHECK(one == "");
}

TEST_CASE("sets that overlap work at the same time", "[engine]") {
  const std::string backend = GENERATE("shm", "gloo");
  CAPTURE(backend);
  Config config;
  config.backend = backend;
  ThreadJob job(3, config);
  const std::vector<std::vector<int64_t>> sets{{0, 1}, {1, 2}, {0, 2}};
  const auto wrong = job.ForEachRank([&](int rank) {
    engine::Engine& engine = job.engine(rank);
    std::vector<uint32_t> ids;
    for (size_t i = 0; i < sets.size(); ++i) {
      const Added added = AddSet(engine, "add " + std::to_string(i), sets[i]);
      if (IsIn(sets[i], rank)) ids.push_back(added.id);
    }
    int problems = 0;
    for (int step = 0; step < 30; ++step) {
      std::vector<Values> values(ids.size(), Values(50'000, 1));
      std::vector<Result<engine::TicketPtr>> tickets;
      // Each rank has an order of its own.
      for (size_t i = 0; i < ids.size(); ++i) {
        const size_t at = (i + static_cast<size_t>(rank + step)) % ids.size();
        auto request = RequestFor("x", 50'000, DType::kInt32);
        request->process_set = ids[at];
        tickets.push_back(SubmitInPlace(engine, request, &values[at], /*urgent=*/false));
      }
      for (const auto& ticket : tickets) problems += !Finish(engine, ticket).ok();
      for (const Values& one : values) problems += one != Values(50'000, 2);
    }
    return problems;
  });
  for (const int one : wrong) CHECK(one == 0);
}

TEST_CASE("a member that hangs in one set does not hold up another set", "[engine]") {
  Gate gate;
  std::atomic<bool> hangs{false};
  ThreadJob job(3, {}, [&](int rank, engine::EngineParts& parts) {
    if (rank != 1) return;
    parts.backend = std::make_unique<SteppedBackend>(std::move(parts.backend),
                                                     [&]() -> Result<backends::Progress> {
                                                       if (hangs) gate.Enter();
                                                       return backends::Progress::kMoved;
                                                     });
  });
  OpensAtTheEnd opens(&gate);
  const auto sets = job.ForEachRank([&](int rank) {
    const Added slow = AddSet(job.engine(rank), "slow", {0, 1});
    const Added fast = AddSet(job.engine(rank), "fast", {0, 2});
    return std::pair(slow.id, fast.id);
  });
  hangs = true;
  const auto [slow, fast] = sets[0];
  Values held[2] = {Values(1'000'000, 1), Values(1'000'000, 1)};
  std::vector<Result<engine::TicketPtr>> tickets;
  for (int rank : {0, 1}) {
    auto request = RequestFor("held", 1'000'000, DType::kInt32);
    request->process_set = slow;
    tickets.push_back(SubmitInPlace(job.engine(rank), request, &held[rank]));
  }
  REQUIRE(gate.WaitForArrival());
  const auto statuses = job.ForEachRank([&, fast = fast](int rank) {
    Values values(1'000, rank);
    return rank == 1 ? Status() : SumIn(job.engine(rank), fast, "x", &values);
  });
  for (const Status& status : statuses) CHECK(status == Status());
  CHECK_FALSE((*tickets[0])->done());
  gate.Open();
  for (int rank : {0, 1}) {
    CHECK(Finish(job.engine(rank), tickets[static_cast<size_t>(rank)]) == Status());
    CHECK(held[rank] == Values(1'000'000, 2));
  }
}

TEST_CASE("nothing may be offered to a set that is being removed", "[engine]") {
  ThreadJob job(2);
  const auto added = job.ForEachRank([&](int rank) { return AddSet(job.engine(rank), "a", {0}); });
  const uint32_t id = added[0].id;
  REQUIRE(id == 1);
  const auto removal = job.engine(0).Submit(
      {SetRequest(OpKind::kRemoveProcessSet, "remove", {id}), {}, nullptr, true});
  Values values(3, 1);
  CHECK_THAT(SumIn(job.engine(0), id, "x", &values).message(), Catch::Contains("being removed"));
  CHECK(Finish(job.engine(1),
               job.engine(1).Submit(
                   {SetRequest(OpKind::kRemoveProcessSet, "remove", {id}), {}, nullptr, true})) ==
        Status());
  CHECK(Finish(job.engine(0), removal) == Status());
  CHECK_THAT(SumIn(job.engine(0), id, "x", &values).message(), Catch::Contains("does not exist"));
}

TEST_CASE("two ranks send to each other without asking the others", "[engine]") {
  const std::string backend = GENERATE("shm", "gloo");
  CAPTURE(backend);
  Config config;
  config.backend = backend;
  ThreadJob job(3, config);
  const auto wrong = job.ForEachRank([&](int rank) {
    int problems = 0;
    for (const size_t count : {size_t{0}, size_t{1}, size_t{1'000'003}}) {
      for (int from = 0; from < 3; ++from) {
        const int to = (from + 1) % 3;
        if (rank != from && rank != to) continue;
        Values values(count, rank == from ? 7 : 0);
        auto request =
            RequestFor("send", static_cast<int64_t>(count), DType::kInt32, OpKind::kBroadcast);
        request->process_set = control::PairOf(from, to);
        request->root = from;
        problems += !ReduceInPlace(job.engine(rank), request, &values).ok();
        problems += values != Values(count, 7);
      }
    }
    return problems;
  });
  for (const int one : wrong) CHECK(one == 0);
}

}  // namespace
}  // namespace rueda::testing
