// The engine over shared memory, ranks as threads: agreement, sums, errors, the end of an epoch.
#include <catch2/catch.hpp>
#include <numeric>
#include <random>

#include "thread_job.h"

namespace rueda {
namespace {

using testing::ReduceInPlace;
using testing::RequestFor;
using testing::ThreadJob;

TEST_CASE("an all-reduce sums the values of all ranks", "[engine]") {
  const int size = GENERATE(1, 2, 3, 4);
  const int64_t count = GENERATE(0, 1, 7, 1021, 131073, 786433);
  CAPTURE(size, count);
  ThreadJob job(size);
  const auto sums = job.ForEachRank([&](int rank) {
    std::vector<float> values(static_cast<size_t>(count));
    std::iota(values.begin(), values.end(), static_cast<float>(rank));
    Status status = ReduceInPlace(job.engine(rank), RequestFor("x", count), &values);
    return std::pair(status, values);
  });
  std::vector<float> expected(static_cast<size_t>(count));
  for (size_t i = 0; i < expected.size(); ++i) {
    expected[i] = static_cast<float>(size) * static_cast<float>(i) +
                  static_cast<float>(size * (size - 1) / 2);
  }
  for (const auto& [status, values] : sums) {
    REQUIRE(status == Status());
    REQUIRE(values == expected);
  }
}

TEST_CASE("submissions in a different order on each rank all complete", "[engine]") {
  const int size = GENERATE(2, 3, 4);
  const uint32_t seed = GENERATE(range(1u, 6u));
  CAPTURE(size, seed);
  constexpr int kTensors = 40, kSteps = 5;
  ThreadJob job(size);
  const auto wrong = job.ForEachRank([&](int rank) {
    std::mt19937 random(seed * 100 + static_cast<uint32_t>(rank));
    std::vector<std::shared_ptr<control::Request>> requests;
    for (int i = 0; i < kTensors; ++i)
      requests.push_back(RequestFor("t" + std::to_string(i), i * 37));
    std::vector<int> order(kTensors);
    std::iota(order.begin(), order.end(), 0);
    int errors = 0;
    for (int step = 0; step < kSteps; ++step) {
      std::shuffle(order.begin(), order.end(), random);
      std::vector<std::vector<float>> values(kTensors);
      std::vector<engine::TicketPtr> tickets(kTensors);
      for (int i : order) {
        auto& mine = values[static_cast<size_t>(i)];
        mine.assign(static_cast<size_t>(i) * 37, static_cast<float>(rank + i + step));
        const TensorView view{mine.data(), static_cast<int64_t>(mine.size()), DType::kFloat32};
        auto ticket = job.engine(rank).Submit(
            {requests[static_cast<size_t>(i)], {{view}, {view}}, nullptr, false});
        tickets[static_cast<size_t>(i)] = ticket.value();
      }
      for (int i = 0; i < kTensors; ++i) {
        job.engine(rank).Wait(tickets[static_cast<size_t>(i)]);
        const auto expected = static_cast<float>(size * (i + step) + size * (size - 1) / 2);
        for (float value : values[static_cast<size_t>(i)]) errors += value != expected;
        errors += !tickets[static_cast<size_t>(i)]->status().ok();
      }
    }
    return errors;
  });
  for (int errors : wrong) CHECK(errors == 0);
}

TEST_CASE("a mismatch is the same error on all ranks, and the job goes on", "[engine]") {
  ThreadJob job(3);
  const auto errors = job.ForEachRank([&](int rank) {
    std::vector<float> values(rank == 1 ? 5 : 4);
    return ReduceInPlace(job.engine(rank), RequestFor("w", static_cast<int64_t>(values.size())),
                         &values);
  });
  CHECK(errors[0].code() == StatusCode::kMismatch);
  CHECK(errors[0] == errors[1]);
  CHECK(errors[0] == errors[2]);
  CHECK_THAT(errors[0].message(),
             Catch::Contains("'w'") && Catch::Contains("[5]") && Catch::Contains("[4]"));

  const auto after = job.ForEachRank([&](int rank) {
    std::vector<float> values(4, 1.0f);
    const Status status = ReduceInPlace(job.engine(rank), RequestFor("w", 4), &values);
    return std::pair(status, values[0]);
  });
  for (const auto& [status, value] : after) {
    CHECK(status == Status());
    CHECK(value == 3.0f);
  }
}

TEST_CASE("the same name twice in flight is refused on that rank alone", "[engine]") {
  ThreadJob job(2);
  std::vector<float> values(3, 1.0f);
  const TensorView view{values.data(), 3, DType::kFloat32};
  auto first = job.engine(0).Submit({RequestFor("x", 3), {{view}, {view}}, nullptr, false});
  auto second = job.engine(0).Submit({RequestFor("x", 3), {{view}, {view}}, nullptr, false});
  REQUIRE(first.ok());
  CHECK(second.status().code() == StatusCode::kDuplicateName);
  std::vector<float> others(3, 2.0f);
  CHECK(ReduceInPlace(job.engine(1), RequestFor("x", 3), &others) == Status());
  job.engine(0).Wait(*first);
  CHECK(values[0] == 3.0f);
}

TEST_CASE("a rank that leaves fails what it did not offer, on the others", "[engine]") {
  const int leaver = GENERATE(0, 1, 2);
  CAPTURE(leaver);
  ThreadJob job(3);
  const auto errors = job.ForEachRank([&](int rank) {
    if (rank == leaver) {
      job.engine(rank).Stop("ValueError: bad batch");
      return Status();
    }
    std::vector<float> values(4);
    return ReduceInPlace(job.engine(rank), RequestFor("w", 4), &values);
  });
  for (int rank = 0; rank < 3; ++rank) {
    if (rank == leaver) continue;
    const Status& error = errors[static_cast<size_t>(rank)];
    CHECK(error.code() == StatusCode::kPeerLeft);
    CHECK(error.blamed_rank() == leaver);
    CHECK_THAT(error.message(),
               Catch::Contains("rank " + std::to_string(leaver)) && Catch::Contains("bad batch"));
  }
}

TEST_CASE("buckets in the arena are reduced in place, mixed with private ones", "[engine]") {
  const int size = GENERATE(1, 2, 3, 4);
  CAPTURE(size);
  ThreadJob job(size);
  const std::vector<control::TensorSpec> specs{{"a", DType::kFloat32, {100, 3}},
                                               {"b", DType::kFloat32, {1}},
                                               {"c", DType::kFloat32, {400001}}};
  const control::Layout layout = control::LayoutOf(specs);
  const auto wrong = job.ForEachRank([&](int rank) {
    auto buffer = *job.engine(rank).Allocate(layout.bytes);
    int errors = 0;
    for (int step = 0; step < 6; ++step) {
      const bool is_private = rank == step % size && step >= 2;
      auto request = std::make_shared<control::Request>();
      request->name = "bucket";
      request->tensors = specs;
      request->placement = is_private ? control::kPrivate : buffer->offset();
      std::vector<std::vector<float>> elsewhere;
      BucketBuffers buffers;
      for (size_t i = 0; i < specs.size(); ++i) {
        elsewhere.emplace_back(static_cast<size_t>(specs[i].count()));
        auto* data = is_private ? elsewhere[i].data()
                                : reinterpret_cast<float*>(buffer->data() + layout.offsets[i]);
        std::fill_n(data, specs[i].count(), static_cast<float>(rank + step + static_cast<int>(i)));
        buffers.inputs.push_back({data, specs[i].count(), DType::kFloat32});
      }
      buffers.outputs = buffers.inputs;
      auto ticket = job.engine(rank).Submit({request, buffers, nullptr, true});
      job.engine(rank).Wait(*ticket);
      errors += !(*ticket)->status().ok();
      for (size_t i = 0; i < specs.size(); ++i) {
        const auto* data = static_cast<const float*>(buffers.outputs[i].data);
        const auto expected =
            static_cast<float>(size * (step + static_cast<int>(i)) + size * (size - 1) / 2);
        for (int64_t j = 0; j < specs[i].count(); ++j) errors += data[j] != expected;
      }
    }
    return errors;
  });
  for (int errors : wrong) CHECK(errors == 0);
}

TEST_CASE("memory of a bucket outlives its epoch", "[engine]") {
  ThreadJob job(2);
  auto buffer = *job.engine(0).Allocate(1000);
  std::fill_n(buffer->data(), 1000, uint8_t{7});
  job.StopAll();
  CHECK(std::all_of(buffer->data(), buffer->data() + 1000, [](uint8_t b) { return b == 7; }));
  CHECK(job.engine(0).Allocate(10).status().code() == StatusCode::kShutDown);
  std::vector<float> values(1);
  CHECK(ReduceInPlace(job.engine(0), RequestFor("x", 1), &values).code() == StatusCode::kShutDown);
}

}  // namespace
}  // namespace rueda
