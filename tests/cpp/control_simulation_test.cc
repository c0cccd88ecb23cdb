// The simulated control plane with a clock that ticks at each reading: every piece costs one tick,
// so every step is known exactly. What pieces really cost is not asserted.
#include "bench/simulation/control_simulation.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bench/simulation/control_workload.h"
#include "bench/simulation/plan_ledger.h"
#include "bench/simulation/simulated_rank.h"

namespace rueda::bench {
namespace {

using std::chrono::microseconds;

constexpr ControlCase kAllCases[] = {ControlCase::kCached, ControlCase::kUncached,
                                     ControlCase::kShapes, ControlCase::kSets,
                                     ControlCase::kJoin,   ControlCase::kMix};

class TickingClock final : public Clock {
 public:
  TimePoint Now() const override { return TimePoint(microseconds(++ticks_)); }

 private:
  mutable int64_t ticks_ = 0;
};

ControlOptions OptionsOf(ControlCase which, int ranks, int tensors = 20) {
  ControlOptions options;
  options.workload = {which, ranks, tensors, 1024, 7};
  options.links.within_host = {microseconds(10), 0, microseconds(2)};
  options.links.between_hosts = options.links.within_host;  // a rank a host
  return options;
}

class Simulated {
 public:
  explicit Simulated(const ControlOptions& options)
      : made_(ControlSimulation::Make(options, CostMeter(&clock_, Duration::zero()))) {}

  Status status() const { return made_.status(); }
  Result<ControlStep> TryStep() { return (*made_)->Step(); }
  ControlStep Step() {
    Result<ControlStep> step = TryStep();
    INFO(step.status().message());
    REQUIRE(step.ok());
    return *step;
  }

 private:
  TickingClock clock_;
  Result<std::unique_ptr<ControlSimulation>> made_;
};

std::vector<int64_t> FiguresOf(const ControlStep& step) {
  return {step.total.count(),     step.up.count(),
          step.decide.count(),    step.down.count(),
          step.plan.count(),      step.root_cpu.count(),
          step.other_cpu.count(), step.messages,
          step.root_messages,     step.bytes,
          step.root_bytes,        step.frames};
}

}  // namespace

TEST_CASE("A step of two ranks takes the time of its parts") {
  Simulated simulated(OptionsOf(ControlCase::kCached, 2));
  REQUIRE(simulated.status().ok());
  const ControlStep step = simulated.Step();
  // Rank 1 makes its batch (1), encodes it (1) and sends it (2); it is under way (10); rank 0
  // receives it (2) and takes it in (1).
  CHECK(step.up == microseconds(17));
  // It decides (1) and encodes (1).
  CHECK(step.decide == microseconds(2));
  // It sends (2); the frame is under way (10); rank 1 receives it (2) and plans it (1).
  CHECK(step.down == microseconds(14));
  CHECK(step.plan == microseconds(1));
  CHECK(step.total == microseconds(34));
  // Besides, rank 0 makes its own batch, takes it in, plans, and looks twice for more to decide.
  CHECK(step.root_cpu == microseconds(2 + 1 + 3 + 2 + 2 + 1 + 1));
  CHECK(step.other_cpu == microseconds(7));
  CHECK(step.busiest_cpu == step.other_cpu);
  CHECK(step.messages == 2);
  CHECK(step.root_messages == 1);
  CHECK(step.root_bytes < 64);
  CHECK(step.bytes > step.root_bytes);
  CHECK(step.frames == 1);
}

TEST_CASE("The coordinator takes in one batch after another") {
  Simulated simulated(OptionsOf(ControlCase::kCached, 5));
  const ControlStep step = simulated.Step();
  // Four batches are there at 14; each is received (2) and taken in (1).
  CHECK(step.up == microseconds(14 + 4 * 3));
  CHECK(step.decide == microseconds(2));
  // Four frames are sent (2 each); the last is under way (10) and is received (2).
  CHECK(step.down == microseconds(4 * 2 + 10 + 2));
  CHECK(step.messages == 8);
  CHECK(step.root_messages == 4);
}

TEST_CASE("A relay passes on what all below it have offered, and frames before it reads them") {
  // Rank 2 below rank 1 below rank 0.
  ControlOptions options = OptionsOf(ControlCase::kCached, 3);
  options.topology = ControlTopology::kTree;
  options.fan_out = 1;
  Simulated simulated(options);
  const ControlStep step = simulated.Step();
  // Rank 2's batch is with rank 1 at 14, which receives it (2), takes it in (1), passes on (1) and
  // sends (2) both; that is under way (10), and rank 0 receives it (2) and takes it in (1).
  CHECK(step.up == microseconds(14 + 2 + 1 + 1 + 2 + 10 + 2 + 1));
  CHECK(step.decide == microseconds(2));
  // Sent (2), under way (10), received (2), sent (2), under way (10), received (2).
  CHECK(step.down == microseconds(28));
  CHECK(step.plan == microseconds(1));
  CHECK(step.messages == 4);
  CHECK(step.root_messages == 1);
}

TEST_CASE("A late rank is waited for as long as a relay is patient") {
  ControlOptions options = OptionsOf(ControlCase::kCached, 3);
  options.topology = ControlTopology::kTree;
  options.fan_out = 1;
  options.skew = microseconds(1'000'000);
  options.patience = microseconds(1'000);
  Simulated hasty(options);
  options.patience = microseconds(2'000'000);
  Simulated patient(options);
  int64_t hasty_messages = 0;
  for (int i = 0; i < 10; ++i) {
    hasty_messages += hasty.Step().root_messages;
    CHECK(patient.Step().root_messages == 1);
  }
  CHECK(hasty_messages > 10);
}

TEST_CASE("Time begins when the last rank has submitted") {
  ControlOptions options = OptionsOf(ControlCase::kCached, 2);
  options.skew = microseconds(1'000'000);
  Simulated simulated(options);
  for (int i = 0; i < 20; ++i) {
    const ControlStep step = simulated.Step();
    CHECK(step.up + step.decide + step.down + step.plan == step.total);
    // Whoever is last, no more than the whole way is left, and some of it always.
    CHECK(step.total > Duration::zero());
    CHECK(step.total <= microseconds(34));
  }
}

TEST_CASE("Every case is agreed on by any number of ranks, and repeats itself", "[one-thread]") {
  for (const ControlCase which : kAllCases) {
    for (const int ranks : {2, 3, 4, 5, 17, 40, -3, -5, -17, -40}) {
      // Negative: in a tree.
      ControlOptions options = OptionsOf(which, std::abs(ranks));
      if (ranks < 0) options.topology = ControlTopology::kTree;
      options.links.ranks_per_host = 4;
      options.fan_out = 2;
      INFO("case " << static_cast<int>(which) << " with " << ranks << " ranks");
      Simulated first(options);
      Simulated second(options);
      INFO(first.status().message());
      REQUIRE(first.status().ok());
      for (int i = 0; i < 12; ++i) {
        const ControlStep step = first.Step();
        CHECK(step.frames >= 1);
        CHECK(step.up + step.decide + step.down + step.plan == step.total);
        CHECK(FiguresOf(step) == FiguresOf(second.Step()));
      }
    }
  }
}

TEST_CASE("What a case is about shows in what is sent") {
  const auto step_of = [](ControlCase which) {
    Simulated simulated(OptionsOf(which, 6, 40));
    return simulated.Step();
  };
  const ControlStep cached = step_of(ControlCase::kCached);
  const ControlStep uncached = step_of(ControlCase::kUncached);
  const ControlStep shapes = step_of(ControlCase::kShapes);
  const ControlStep join = step_of(ControlCase::kJoin);
  CHECK(uncached.root_bytes > 10 * shapes.root_bytes / 2);
  CHECK(shapes.root_bytes > 2 * cached.root_bytes);
  // Who has joined offers nothing, but is told everything, and in full.
  CHECK(join.root_messages == cached.root_messages - 1);
  CHECK(join.messages == cached.messages - 1);
  CHECK(join.bytes > 10 * cached.bytes);
  // Each first step is that of another job.
  Simulated again(OptionsOf(ControlCase::kUncached, 6, 40));
  CHECK(again.Step().root_bytes == uncached.root_bytes);
  CHECK(again.Step().root_bytes == uncached.root_bytes);
}

TEST_CASE("A rank that plans otherwise is found out") {
  for (const int misplans : {0, 1, 4}) {
    ControlOptions options = OptionsOf(ControlCase::kCached, 5);
    options.misplans = misplans;
    const Simulated simulated(options);
    CHECK(simulated.status().code() == StatusCode::kMismatch);
    CHECK(simulated.status().message().find("planned frame 1") != std::string::npos);
  }
}

TEST_CASE("A simulation needs ranks and tensors") {
  CHECK(Simulated(OptionsOf(ControlCase::kCached, 1)).status().code() ==
        StatusCode::kInvalidArgument);
  CHECK(Simulated(OptionsOf(ControlCase::kCached, 2, 0)).status().code() ==
        StatusCode::kInvalidArgument);
}

TEST_CASE("Workloads are alike within a group, and name each tensor once") {
  for (const ControlCase which : kAllCases) {
    ControlWorkload workload({which, 40, 300, 1024, 3});
    bool joined = false;
    for (int step = 0; step < 12; ++step) {
      workload.NextStep();
      joined |= workload.joiner() >= 0;
      for (const int rank : workload.sampled()) {
        std::set<std::pair<uint32_t, std::string>> names;
        for (const auto& offer : workload.OffersOf(rank)) {
          CHECK(names.emplace(offer->process_set, offer->name).second);
          CHECK(control::CheckRequest(*offer).ok());
        }
      }
    }
    CHECK(joined == (which == ControlCase::kJoin || which == ControlCase::kMix));
  }
}

TEST_CASE("Different plans of one frame have different digests") {
  control::Request request;
  request.name = "w";
  request.tensors = {{"w", DType::kFloat32, {4}}};
  control::Response response;
  using Buckets = std::vector<control::PlannedBucket>;
  const std::vector<control::AgreedRequest> agreed = {{&request, &response}, {&request, &response}};
  const std::vector<int> ranks = {0, 1};
  const Buckets buckets = control::Plan(agreed, ranks, {});
  const Buckets more = control::Plan(agreed, ranks, {.bucket_bytes = 1});
  CHECK(buckets.size() == 1);
  CHECK(more.size() == 2);
  const PlannedSet planned{0, {}, agreed, std::make_shared<const Buckets>(buckets)};
  const PlannedSet split{0, {}, agreed, std::make_shared<const Buckets>(more)};
  CHECK(DigestOf(planned) != DigestOf(split));
  Buckets other = buckets;
  other[0].bucket.prescale = 0.5;
  const PlannedSet scaled{0, {}, agreed, std::make_shared<const Buckets>(other)};
  CHECK(DigestOf(planned) != DigestOf(scaled));

  PlanLedger ledger;
  CHECK(ledger.Note(3, 0, planned).ok());
  CHECK(ledger.Note(3, 1, planned).ok());
  CHECK(ledger.Note(4, 1, split).ok());
  const Status found = ledger.Note(3, 2, split);
  CHECK(found.code() == StatusCode::kMismatch);
  CHECK(found.message().find("rank 2 planned frame 3 of process set 0 as 2 buckets") == 0);
}

TEST_CASE("A rank refuses answers to what it has not offered") {
  const std::map<uint32_t, std::vector<int>> sets = {{0, {0, 1}}};
  SimulatedRank rank(1, &sets);
  control::Frame frame;
  frame.number = 1;
  control::Response& response = frame.responses.emplace_back();
  response.name = "w";
  const Status status = rank.Take(frame);
  CHECK(status.code() == StatusCode::kCorrupt);
  CHECK(status.message().find("'w', which it did not offer") != std::string::npos);
}

}  // namespace rueda::bench
