// What the engine does for each operation, fused or alone, cached or new.
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "engine_fakes.h"
#include "status_text.h"
#include "thread_job.h"

namespace rueda::testing {
namespace {

using Values = std::vector<int32_t>;

Values Filled(int64_t count, int32_t value) { return Values(static_cast<size_t>(count), value); }

TensorView ViewOf(Values& values) {
  return {values.data(), static_cast<int64_t>(values.size()), DType::kInt32};
}

int32_t SumOfRanks(int size) { return size * (size - 1) / 2; }

// Submits tensors without haste and waits for them together: how many of them are wrong.
int ReduceManySmall(engine::Engine& engine, int tensors) {
  const int size = engine.topology().size;
  std::vector<Values> values;
  std::vector<Result<engine::TicketPtr>> tickets;
  for (int i = 0; i < tensors; ++i) values.push_back(Filled(i % 7, engine.topology().rank + i));
  for (int i = 0; i < tensors; ++i) {
    tickets.push_back(SubmitInPlace(engine,
                                    RequestFor("t" + std::to_string(i), i % 7, DType::kInt32),
                                    &values[static_cast<size_t>(i)], /*urgent=*/false));
  }
  int wrong = 0;
  for (int i = 0; i < tensors; ++i) {
    const auto index = static_cast<size_t>(i);
    wrong += !Finish(engine, tickets[index]).ok();
    wrong += values[index] != Filled(i % 7, size * i + SumOfRanks(size));
  }
  return wrong;
}

TEST_CASE("small tensors that are submitted together share a bucket", "[engine]") {
  constexpr int kTensors = 200;
  const bool fused = GENERATE(false, true);
  CAPTURE(fused);
  Config config;
  config.linger_us = 1'000'000;  // ends as soon as somebody waits
  if (!fused) config.fusion_threshold = 1;
  const auto notes = std::make_shared<NotingBackend::Notes>();
  ThreadJob job(3, config, [&](int rank, engine::EngineParts& parts) {
    if (rank != 1) return;
    parts.backend = std::make_unique<NotingBackend>(std::move(parts.backend), notes);
  });
  const auto wrong = job.ForEachRank([&](int rank) {
    return ReduceManySmall(job.engine(rank), kTensors) +
           ReduceManySmall(job.engine(rank), kTensors);
  });
  for (const int one : wrong) CHECK(one == 0);
  // Tensors without elements join any bucket.
  if (fused) {
    CHECK(notes->buckets < 20);
  } else {
    CHECK(notes->buckets >= 2 * kTensors * 6 / 7);
  }
}

TEST_CASE("a submission waits for company until its linger is over", "[engine]") {
  Config config;
  config.linger_us = 2'000;
  ThreadJob job(2, config);
  const auto statuses = job.ForEachRank([&](int rank) {
    Values values = Filled(3, rank);
    const auto ticket =
        SubmitInPlace(job.engine(rank), RequestFor("x", 3, DType::kInt32), &values, false);
    // Ticket::Wait alone asks for no haste.
    if ((*ticket)->Wait() != engine::Ticket::Wake::kDone)
      return Status(StatusCode::kSystem, "woke");
    return (*ticket)->status();
  });
  for (const Status& status : statuses) CHECK(status == Status());
}

TEST_CASE("a submission that somebody asks for lingers no longer", "[engine]") {
  Config config;
  config.linger_us = 3'600'000'000;
  ThreadJob job(2, config);
  const auto statuses = job.ForEachRank([&](int rank) {
    Values values = Filled(3, rank);
    const auto ticket =
        SubmitInPlace(job.engine(rank), RequestFor("x", 3, DType::kInt32), &values, false);
    job.engine(rank).Hurry(**ticket);
    if ((*ticket)->Wait() != engine::Ticket::Wake::kDone)
      return Status(StatusCode::kSystem, "woke");
    return (*ticket)->status();
  });
  for (const Status& status : statuses) CHECK(status == Status());
}

TEST_CASE("a group of several dtypes completes as a whole", "[engine]") {
  const int size = GENERATE(1, 3);
  ThreadJob job(size);
  const auto wrong = job.ForEachRank([&](int rank) {
    auto request = std::make_shared<control::Request>();
    request->name = "group";
    request->tensors = {{"a", DType::kInt32, {2, 3}},
                        {"b", DType::kFloat64, {}},
                        {"c", DType::kInt32, {0}},
                        {"d", DType::kUInt8, {100'001}},
                        {"e", DType::kFloat64, {5}}};
    Values a = Filled(6, rank), c;
    std::vector<double> b{0.5}, e(5, rank + 0.25);
    std::vector<uint8_t> d(100'001, static_cast<uint8_t>(rank + 1));
    const std::vector<TensorView> views{ViewOf(a),
                                        {b.data(), 1, DType::kFloat64},
                                        ViewOf(c),
                                        {d.data(), 100'001, DType::kUInt8},
                                        {e.data(), 5, DType::kFloat64}};
    engine::Engine& engine = job.engine(rank);
    int errors = !Finish(engine, engine.Submit({request, {views, views}, nullptr, true})).ok();
    errors += a != Filled(6, SumOfRanks(size));
    errors += b[0] != 0.5 * size;
    const auto each = static_cast<uint8_t>(SumOfRanks(size) + size);
    errors += d != std::vector<uint8_t>(100'001, each);
    errors += e != std::vector<double>(5, SumOfRanks(size) + 0.25 * size);
    return errors;
  });
  for (const int errors : wrong) CHECK(errors == 0);
}

TEST_CASE("a group without tensors completes too", "[engine]") {
  const auto kind = GENERATE(OpKind::kAllreduce, OpKind::kAllgather);
  ThreadJob job(2);
  const auto statuses = job.ForEachRank([&](int rank) {
    auto request = std::make_shared<control::Request>();
    request->kind = kind;
    request->name = "nothing";
    engine::Engine& engine = job.engine(rank);
    return Finish(engine, engine.Submit({request, {}, nullptr, true}));
  });
  for (const Status& status : statuses) CHECK(status == Status());
}

TEST_CASE("an allgather joins rows of every rank, different ones each time", "[engine]") {
  const int size = GENERATE(1, 2, 4);
  CAPTURE(size);
  ThreadJob job(size);
  const auto wrong = job.ForEachRank([&](int rank) {
    engine::Engine& engine = job.engine(rank);
    int errors = 0;
    for (int round = 0; round < 4; ++round) {
      const auto rows = [round](int of) { return (of + round) % 4 * (of == 3 ? 10'000 : 1); };
      auto request = std::make_shared<control::Request>();
      request->kind = OpKind::kAllgather;
      request->name = "rows";
      request->tensors = {{"a", DType::kInt32, {rows(rank), 3}}, {"b", DType::kInt32, {rank}}};
      Values a = Filled(rows(rank) * 3, rank * 10 + round), b = Filled(rank, rank);
      const auto ticket = engine.Submit({request, {{ViewOf(a), ViewOf(b)}, {}}, nullptr, true});
      errors += !Finish(engine, ticket).ok();
      Values joined_a, joined_b;
      std::vector<int64_t> first_a, first_b;
      for (int other = 0; other < size; ++other) {
        joined_a.insert(joined_a.end(), static_cast<size_t>(rows(other) * 3), other * 10 + round);
        joined_b.insert(joined_b.end(), static_cast<size_t>(other), other);
        first_a.push_back(rows(other));
        first_b.push_back(other);
      }
      const auto& results = (*ticket)->results();
      const auto holds = [](const engine::OwnedResult& result, const Values& expected) {
        const auto* data = reinterpret_cast<const int32_t*>(result.data.get());
        return result.bytes == static_cast<int64_t>(expected.size() * 4) &&
               std::equal(expected.begin(), expected.end(), data);
      };
      errors += results.size() != 2 || !holds(results[0], joined_a) || !holds(results[1], joined_b);
      errors += results[0].first_dims != first_a || results[1].first_dims != first_b;
    }
    return errors;
  });
  for (const int errors : wrong) CHECK(errors == 0);
}

TEST_CASE("a broadcast gives every rank the values of its root", "[engine]") {
  const int size = GENERATE(1, 2, 3, 4);
  const int64_t count = GENERATE(0, 1, 1'021, 300'007);
  CAPTURE(size, count);
  ThreadJob job(size);
  const auto wrong = job.ForEachRank([&](int rank) {
    engine::Engine& engine = job.engine(rank);
    int errors = 0;
    for (int root = 0; root < size; ++root) {
      auto request =
          RequestFor("x" + std::to_string(root), count, DType::kInt32, OpKind::kBroadcast);
      request->root = root;
      Values in_place = Filled(count, rank + 100), apart = Filled(count, -1);
      errors += !ReduceInPlace(engine, request, &in_place).ok();
      errors += in_place != Filled(count, root + 100);
      Values input = Filled(count, rank + 7);
      errors += !Finish(engine,
                        engine.Submit({request, {{ViewOf(input)}, {ViewOf(apart)}}, nullptr, true}))
                     .ok();
      errors += apart != Filled(count, root + 7) || input != Filled(count, rank + 7);
    }
    return errors;
  });
  for (const int errors : wrong) CHECK(errors == 0);
}

TEST_CASE("nobody leaves a barrier before the last has come", "[engine]") {
  const int size = GENERATE(1, 2, 3, 4);
  ThreadJob job(size);
  std::atomic<int> arrived{0};
  const auto wrong = job.ForEachRank([&](int rank) {
    int errors = 0;
    for (int round = 1; round <= 40; ++round) {
      arrived.fetch_add(1);
      errors += !WaitAtBarrier(job.engine(rank), "barrier").ok();
      errors += arrived.load() < size * round;
    }
    return errors;
  });
  for (const int errors : wrong) CHECK(errors == 0);
}

TEST_CASE("a name may change its shape when it does so everywhere", "[engine]") {
  const int64_t capacity = GENERATE(0, 1, 8'192);
  CAPTURE(capacity);
  Config config;
  config.cache_capacity = capacity;
  ThreadJob job(3, config);
  const auto errors = job.ForEachRank([&](int rank) {
    int wrong = 0;
    for (const int64_t count : {5, 5, 9, 9, 9, 0, 5, 70'001, 5}) {
      for (const std::string name : {"x", "y", "z"}) {
        Values values = Filled(count, rank);
        const auto request = RequestFor(name, count, DType::kInt32);
        wrong += !ReduceInPlace(job.engine(rank), request, &values).ok();
        wrong += values != Filled(count, SumOfRanks(3));
      }
    }
    return wrong;
  });
  for (const int wrong : errors) CHECK(wrong == 0);
}

TEST_CASE("a cached name that one rank changes fails everywhere, once", "[engine]") {
  ThreadJob job(3);
  const auto reduce = [&](int64_t count_on_rank_2) {
    return job.ForEachRank([&, count_on_rank_2](int rank) {
      const int64_t count = rank == 2 ? count_on_rank_2 : 4;
      Values values = Filled(count, rank);
      return ReduceInPlace(job.engine(rank), RequestFor("x", count, DType::kInt32), &values);
    });
  };
  for (int round = 0; round < 3; ++round) {
    for (const Status& status : reduce(4)) CHECK(status == Status());
    for (const Status& status : reduce(4)) CHECK(status == Status());
    const std::vector<Status> refused = reduce(6);
    for (const Status& status : refused) {
      CHECK(status.code() == StatusCode::kMismatch);
      CHECK(status == refused[0]);
      CHECK(status.blamed_rank() == 2);
    }
  }
}

}  // namespace
}  // namespace rueda::testing
