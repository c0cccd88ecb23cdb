// Backend: runs buckets, one after another, for one process set.
//
// Implementations pass tests/cpp/backend_contract.h. All calls come from the engine thread, except
// Abort, which any thread may call at any time.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "backends/copy_observer.h"
#include "backends/one_shot.h"
#include "core/bucket.h"
#include "core/status.h"

namespace rueda::backends {

enum class Progress {
  kWaiting,  // nothing could be done; peers' progress wakes the engine's parker
  kMoved,    // something was done; step again
  kDone,     // the outputs hold the result, and no peer touches this rank's tensors any more (I4)
};

// One bucket under way.
class Run {
 public:
  virtual ~Run() = default;
  // Does what can be done without blocking. An error ends the epoch; after it or kDone, no more
  // steps.
  virtual Result<Progress> Step() = 0;
  // The members whose progress this run waits for, as far as the backend can tell: for messages.
  virtual std::vector<int> WaitsFor() const { return {}; }
};

// A process set as the backend of all ranks sees it.
struct Subset {
  uint32_t process_set = 0;
  std::vector<int> members;  // their places among the parent's members, ascending
  // By member of the subset: byte offset in its arena of SplitBytes() zeroed bytes, aligned to 64,
  // that the subset's backend may use while it lives. Empty where SplitBytes() is 0.
  std::vector<int64_t> memory;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;

  // Ok, or kUnsupported in words. A pure function of the bucket: the same on every rank.
  virtual Status Supports(const Bucket& bucket) const = 0;

  // Starts a supported bucket. `bucket` and `buffers` outlive the run; the run belongs to the
  // backend and is valid until the next Begin. Every member begins the same buckets in the same
  // order (I1), and none before the inputs of all of them are complete (I2).
  virtual Result<Run*> Begin(const Bucket& bucket, const BucketBuffers& buffers) = 0;

  // The backend of a process set to which this rank belongs; this one outlives it. Every member
  // splits at the same point of the order in which they run buckets.
  virtual Result<std::unique_ptr<Backend>> Split(const Subset& subset) = 0;
  // What Split needs of each member's arena. Constant; any thread.
  virtual int64_t SplitBytes() const { return 0; }
  // Whether buckets of this and of split backends may be under way at once. If not, the caller runs
  // all of them one after another, in an order that all ranks share.
  virtual bool concurrent() const { return false; }

  // Small all-reduces of all ranks beside the buckets, or null: there are none. Constant.
  virtual OneShot* one_shot() { return nullptr; }

  // Who is told of copies from here on, by this backend and those that are split from it later.
  // Before the first bucket.
  virtual void Observe(CopyObserver* /*observer*/) {}

  // Makes the run under way, and every later one, fail with `why` soon. Never blocks.
  virtual void Abort(const Status& why) = 0;
};

}  // namespace rueda::backends
