// Whereabouts: on which processor each rank of a host drives its engine.
//
// Who waits for a rank that runs on the same processor keeps it from what is waited for, so there
// is no use in pausing: yields let it go on at once. Asleep, ranks would not come apart sooner, but
// later: the kernel moves one of two threads that want to run, and looks for that seldom
// (docs/performance.md, "Waiting").
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace rueda::transport {

// Where the thread that drives a rank last was, in its control page. Zeroed memory is a rank that
// was seen nowhere. Written by that thread; a hint, which changes no result.
struct alignas(128) DriversPlace {
  std::atomic<uint32_t> processor;  // its number + 1
};

// The number of the processor that the calling thread runs on, or -1.
int CurrentProcessor();

// One rank's view. Used by the thread that drives it.
class Whereabouts {
 public:
  // Sees nobody.
  Whereabouts() = default;
  // By rank; they outlive it.
  Whereabouts(std::vector<DriversPlace*> places, int own_rank,
              int (*current_processor)() = CurrentProcessor);

  // Before this rank does what others may wait for.
  void Show() { (void)ShowProcessor(); }
  // The same while it waits; true where another rank was last seen on this very processor.
  bool PeerIsHere();

 private:
  uint32_t ShowProcessor();

  DriversPlace* own_ = nullptr;  // null: nobody is to be seen
  std::vector<const DriversPlace*> others_;
  int (*current_processor_)() = nullptr;
};

}  // namespace rueda::transport
