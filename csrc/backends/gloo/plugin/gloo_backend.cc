#include "backends/gloo/plugin/gloo_backend.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "backends/gloo/plugin/bucket_check.h"

namespace rueda::backends {
namespace {

Status CheckSubset(const Subset& subset, const LinkGroup& parent) {
  const std::vector<int>& members = subset.members;
  const bool ascending = std::adjacent_find(members.begin(), members.end(),
                                            [](int a, int b) { return a >= b; }) == members.end();
  const bool known = members.empty() || (members.front() >= 0 && members.back() < parent.size());
  const bool own = std::find(members.begin(), members.end(), parent.place()) != members.end();
  if (ascending && known && own) return Status::Ok();
  return {StatusCode::kInvalidArgument, "process set " + std::to_string(subset.process_set) +
                                            " needs members in ascending order, each one of " +
                                            std::to_string(parent.size()) + ", with member " +
                                            std::to_string(parent.place()) + " among them"};
}

}  // namespace

Result<std::unique_ptr<Backend>> GlooBackend::Make(GlooParts parts) {
  Result<std::unique_ptr<PeerLinks>> links =
      PeerLinks::Make(std::move(parts.topology), std::move(parts.channels));
  if (!links.ok()) return links.status();
  std::vector<int> everybody(static_cast<size_t>((*links)->topology().size));
  std::iota(everybody.begin(), everybody.end(), 0);
  auto worker =
      std::make_unique<GlooWorker>(std::move(*links), std::move(parts.wake), parts.run_timeout);
  GlooWorker* const shared = worker.get();
  return std::unique_ptr<Backend>(
      new GlooBackend(std::move(worker), shared, std::move(everybody), 0));
}

GlooBackend::GlooBackend(std::unique_ptr<GlooWorker> owned, GlooWorker* worker,
                         std::vector<int> ranks, uint32_t process_set)
    : owned_(std::move(owned)),
      worker_(worker),
      group_(worker->links(), std::move(ranks), process_set),
      collectives_(group_, worker->scratch()),
      run_(group_) {}

GlooBackend::~GlooBackend() { worker_->Forget(&run_.task); }

Status GlooBackend::Supports(const Bucket& bucket) const {
  return CheckBucket(bucket, group_.size());
}

Result<Run*> GlooBackend::Begin(const Bucket& bucket, const BucketBuffers& buffers) {
  RUEDA_RETURN_IF_ERROR(worker_->Begin(&collectives_, bucket, buffers, &run_.task));
  return &run_;
}

Result<std::unique_ptr<Backend>> GlooBackend::Split(const Subset& subset) {
  RUEDA_RETURN_IF_ERROR(worker_->links().aborted());
  RUEDA_RETURN_IF_ERROR(CheckSubset(subset, group_));
  std::vector<int> ranks;
  for (const int place : subset.members) ranks.push_back(group_.RankOf(place));
  return std::unique_ptr<Backend>(
      new GlooBackend(nullptr, worker_, std::move(ranks), subset.process_set));
}

void GlooBackend::Abort(const Status& why) { worker_->links().Abort(why); }

Result<Progress> GlooBackend::BucketRun::Step() {
  if (task.running.load(std::memory_order_acquire)) return Progress::kWaiting;
  if (!task.result.ok()) return task.result;
  return Progress::kDone;
}

std::vector<int> GlooBackend::BucketRun::WaitsFor() const {
  std::vector<int> places;
  for (const int rank : group_.links().WaitsFor()) {
    if (group_.PlaceOf(rank) >= 0) places.push_back(group_.PlaceOf(rank));
  }
  return places;
}

}  // namespace rueda::backends
