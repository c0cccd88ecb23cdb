// Whereabouts: who is seen where, and what the engine makes of it.
#include "transport/whereabouts.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <vector>

#include "engine_fakes.h"
#include "thread_job.h"

namespace rueda::testing {
namespace {

using transport::DriversPlace;
using transport::Whereabouts;

std::atomic<int> processor{0};
std::atomic<int> asked{0};
int FakeProcessor() {
  ++asked;
  return processor;
}

// A host of ranks that run where the test says.
class Host {
 public:
  explicit Host(int size) : places_(static_cast<size_t>(size)) {
    std::vector<DriversPlace*> all;
    for (DriversPlace& place : places_) all.push_back(&place);
    for (int rank = 0; rank < size; ++rank) ranks_.emplace_back(all, rank, FakeProcessor);
  }

  void Show(int rank, int where) {
    processor = where;
    ranks_[static_cast<size_t>(rank)].Show();
  }
  bool SeesPeer(int rank, int where) {
    processor = where;
    return ranks_[static_cast<size_t>(rank)].PeerIsHere();
  }

 private:
  std::vector<DriversPlace> places_;
  std::vector<Whereabouts> ranks_;
};

TEST_CASE("who was never seen is nowhere") {
  Host host(3);
  CHECK_FALSE(host.SeesPeer(1, 0));
  CHECK_FALSE(host.SeesPeer(1, 7));
}

TEST_CASE("a rank does not see itself") {
  Host host(2);
  host.Show(0, 3);
  CHECK_FALSE(host.SeesPeer(0, 3));
}

TEST_CASE("another rank is here while it was last seen here") {
  Host host(3);
  host.Show(2, 5);
  CHECK(host.SeesPeer(0, 5));
  CHECK_FALSE(host.SeesPeer(0, 4));
  // Who looks is seen there, too.
  CHECK(host.SeesPeer(1, 4));
  host.Show(2, 4);
  host.Show(0, 6);
  CHECK_FALSE(host.SeesPeer(1, 5));
  CHECK(host.SeesPeer(1, 4));
}

TEST_CASE("where processors have no numbers nobody is seen") {
  Host host(2);
  host.Show(0, -1);
  CHECK_FALSE(host.SeesPeer(1, -1));
}

TEST_CASE("without shared memory nobody is seen") {
  Whereabouts nobody;
  nobody.Show();
  CHECK_FALSE(nobody.PeerIsHere());
}

TEST_CASE("the calling thread has a processor") { CHECK(transport::CurrentProcessor() >= 0); }

// On one processor, as far as they can tell: whoever waits yields, and nothing is lost by it.
TEST_CASE("ranks that see each other come to their results", "[engine]") {
  constexpr int kSize = 2, kCalls = 200;
  std::vector<DriversPlace> places(kSize);
  std::vector<DriversPlace*> all;
  for (DriversPlace& place : places) all.push_back(&place);
  processor = 1;
  asked = 0;
  ThreadJob job(kSize, {}, [&](int rank, engine::EngineParts& parts) {
    parts.whereabouts = Whereabouts(all, rank, FakeProcessor);
  });
  const auto wrong = job.ForEachRank([&](int rank) {
    int sum = 0;
    for (int call = 0; call < kCalls; ++call) {
      std::vector<float> values(static_cast<size_t>(1 + call % 5), static_cast<float>(rank + 1));
      const TensorView view{values.data(), static_cast<int64_t>(values.size()), DType::kFloat32};
      auto ticket = job.engine(rank).Submit(
          {RequestFor("x", view.count), {{view}, {view}}, nullptr, /*urgent=*/true});
      if (!Finish(job.engine(rank), std::move(ticket)).ok()) ++sum;
      sum += static_cast<int>(
          std::count_if(values.begin(), values.end(), [](float one) { return one != 3.0F; }));
    }
    return sum;
  });
  for (const int one : wrong) CHECK(one == 0);
  CHECK(asked > 0);
  for (const DriversPlace& place : places) CHECK(place.processor == 2);
}

}  // namespace
}  // namespace rueda::testing
