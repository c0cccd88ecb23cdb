// GlooBackend: runs the buckets of one process set through Gloo, on the worker thread of its job.
//
// The first one, of all ranks, owns the worker with the links; those split from it share it, so
// buckets of different sets never run at once (concurrent() is false). An abort of one is an abort
// of all: half a message may be under way on a link that they share.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "backends/gloo/make_gloo.h"
#include "backends/gloo/plugin/gloo_collectives.h"
#include "backends/gloo/plugin/gloo_worker.h"
#include "backends/gloo/plugin/link_group.h"

namespace rueda::backends {

class GlooBackend final : public Backend {
 public:
  static Result<std::unique_ptr<Backend>> Make(GlooParts parts);
  // In the middle of a run it ends the job's work, with an abort and within its time.
  ~GlooBackend() override;
  GlooBackend(const GlooBackend&) = delete;
  GlooBackend& operator=(const GlooBackend&) = delete;

  std::string_view name() const override { return "gloo"; }
  Status Supports(const Bucket& bucket) const override;
  Result<Run*> Begin(const Bucket& bucket, const BucketBuffers& buffers) override;
  // kInvalidArgument if the members are no process set that this rank belongs to.
  Result<std::unique_ptr<Backend>> Split(const Subset& subset) override;
  void Abort(const Status& why) override;
  void Observe(CopyObserver* observer) override { worker_->links().Observe(observer); }

 private:
  // The run under way, or the last one.
  class BucketRun final : public Run {
   public:
    explicit BucketRun(const LinkGroup& group) : group_(group) {}

    Result<Progress> Step() override;
    std::vector<int> WaitsFor() const override;

    GlooTask task;

   private:
    const LinkGroup& group_;
  };

  GlooBackend(std::unique_ptr<GlooWorker> owned, GlooWorker* worker, std::vector<int> ranks,
              uint32_t process_set);

  const std::unique_ptr<GlooWorker> owned_;  // null in a split backend
  GlooWorker* const worker_;
  const LinkGroup group_;
  GlooCollectives collectives_;
  BucketRun run_;
};

}  // namespace rueda::backends
