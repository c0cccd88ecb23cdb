// Backend: runs buckets, one after another, for one process set.
//
// Implementations pass tests/cpp/backend_contract.h. All calls come from the engine thread, except
// Abort, which any thread may call at any time.
#pragma once

#include <string_view>
#include <vector>

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
  // The ranks whose progress this run waits for, as far as the backend can tell: for messages.
  virtual std::vector<int> WaitsFor() const { return {}; }
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

  // Makes the run under way, and every later one, fail with `why` soon. Never blocks.
  virtual void Abort(const Status& why) = 0;
};

}  // namespace rueda::backends
