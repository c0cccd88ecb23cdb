// Steady rounds allocate nothing: from the offers of all ranks to the frame as each reads it.
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "control/coordinator.h"
#include "control_samples.h"

namespace {

// Of this thread, while it counts.
thread_local bool counts = false;
thread_local size_t allocations = 0;

void* Allocate(size_t bytes) {
  if (counts) ++allocations;
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}

}  // namespace

// The whole test program's: they do what the standard ones do, and count.
void* operator new(size_t bytes) { return Allocate(bytes); }
void* operator new[](size_t bytes) { return Allocate(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace rueda::control {
namespace {

// One round of a job of some ranks, each piece with memory of its own that it keeps.
class SteadyJob {
 public:
  SteadyJob(int ranks, uint32_t tensors) : ranks_(ranks), coordinator_(TopologyOf(ranks), {}) {
    Batch first;
    for (uint32_t i = 0; i < tensors; ++i) {
      first.requests.push_back(Shared(Allreduce(std::to_string(i))));
      batch_.slots.Insert(i);
    }
    for (int rank = 0; rank < ranks; ++rank) {
      REQUIRE(coordinator_.Absorb(rank, first, TimePoint{}).ok());
    }
    REQUIRE(coordinator_.Decide(TimePoint{}, &frame_));
  }

  void OfferInFull(const std::string& name) {
    received_.Clear();
    received_.requests.push_back(Shared(Allreduce(name)));
    (void)coordinator_.Absorb(0, received_, TimePoint{});
  }

  // Whether every rank reads that all slots are agreed.
  bool Round() {
    for (int rank = 0; rank < ranks_; ++rank) {
      Encode(batch_, &bytes_);
      if (!DecodeBatch(bytes_, &received_).ok()) return false;
      if (!coordinator_.Absorb(rank, received_, TimePoint{}).ok()) return false;
    }
    if (!coordinator_.Decide(TimePoint{}, &frame_)) return false;
    Encode(frame_, &bytes_);
    return DecodeFrame(bytes_, &answered_).ok() && answered_.cached == batch_.slots;
  }

 private:
  const int ranks_;
  Coordinator coordinator_;
  Batch batch_;
  Batch received_;
  Frame frame_;
  Frame answered_;
  std::vector<uint8_t> bytes_;
};

}  // namespace

TEST_CASE("steady rounds allocate nothing", "[coordinator][allocations]") {
  for (const int ranks : {1, 2, 64}) {
    SteadyJob job(ranks, 300);
    REQUIRE(job.Round());
    size_t right = 0;
    allocations = 0;
    counts = true;
    for (int round = 0; round < 20; ++round) right += job.Round() ? 1 : 0;
    counts = false;
    CHECK(right == 20);
    CHECK(allocations == 0);
    // It does count.
    counts = true;
    job.OfferInFull("new");
    counts = false;
    CHECK(allocations > 0);
  }
}

}  // namespace rueda::control
