#include "backends/shm/shm_backend.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "backends/abort_reason.h"
#include "backends/shm/shm_inline.h"
#include "backends/shm/shm_one_shot.h"
#include "backends/shm/shm_plan.h"
#include "backends/shm/shm_run.h"
#include "backends/shm/staging_ring.h"
#include "transport/arena_layout.h"

namespace rueda::backends {
namespace {

// Before the staging memory of a process set: the counters, aligned.
constexpr int64_t kCountersBytes = sizeof(ShmCounters) + alignof(ShmCounters);

class ShmBackend final : public Backend, private Run {
 public:
  ShmBackend(ShmGroup group, std::shared_ptr<AbortReason> aborted)
      : group_(std::move(group)),
        ring_(group_.staging_bytes),
        inline_(&group_),
        run_(&group_, &ring_),
        aborted_(std::move(aborted)) {
    if (group_.size() == 1 || group_.own().one_shot == nullptr) return;
    one_shot_.emplace(&group_, group_.one_shot_bytes);
    // The others need not wait for one who never comes.
    if (group_.one_shot_bytes == 0) one_shot_->End();
  }

  std::string_view name() const override { return "shm"; }
  Status Supports(const Bucket& bucket) const override;

  Result<Run*> Begin(const Bucket& bucket, const BucketBuffers& buffers) override {
    const ShmPlan plan = PlanShm(bucket, group_.size(), group_.staging_bytes);
    if (plan.scheme == ShmScheme::kInline) {
      inline_.Reset(bucket, buffers);
      current_ = &inline_;
    } else {
      run_.Reset(bucket, buffers, plan);
      current_ = &run_;
    }
    return static_cast<Run*>(this);
  }

  Result<std::unique_ptr<Backend>> Split(const Subset& subset) override;
  int64_t SplitBytes() const override {
    return kCountersBytes + transport::kStagingSlots * transport::kStagingChunkBytes;
  }
  bool concurrent() const override { return true; }

  OneShot* one_shot() override {
    return one_shot_ && one_shot_->MostBytes() > 0 ? &*one_shot_ : nullptr;
  }

  void Observe(CopyObserver* observer) override { group_.copies = observer; }
  void Abort(const Status& why) override { aborted_->Set(why); }

 private:
  Result<Progress> Step() override {
    RUEDA_RETURN_IF_ERROR(aborted_->Check());
    return current_->Step();
  }
  std::vector<int> WaitsFor() const override { return current_->WaitsFor(); }

  ShmGroup group_;
  StagingRing ring_;
  ShmInline inline_;
  ShmRun run_;
  Run* current_ = nullptr;
  std::optional<ShmOneShot> one_shot_;
  const std::shared_ptr<AbortReason> aborted_;  // shared with those split from it
};

Status ShmBackend::Supports(const Bucket& bucket) const {
  if (!Reduces(bucket.kind) || IsReducible(bucket.dtype)) return Status::Ok();
  return {StatusCode::kUnsupported, "shared memory cannot reduce " +
                                        std::string(NameOf(bucket.dtype)) +
                                        "; convert the tensor first"};
}

Result<std::unique_ptr<Backend>> ShmBackend::Split(const Subset& subset) {
  const bool is_pair = subset.memory.empty() && subset.members.size() == 2;
  if (!is_pair && subset.memory.size() != subset.members.size()) {
    return Status(StatusCode::kInvalidArgument,
                  "a process set needs memory in the arena of each of its ranks");
  }
  ShmGroup group;
  group.copies = group_.copies;
  group.staging_bytes = SplitBytes() - kCountersBytes;
  for (size_t i = 0; i < subset.members.size(); ++i) {
    const int from = subset.members[i];
    if (from == group_.index) group.index = static_cast<int>(i);
    ShmMember member = group_.members[static_cast<size_t>(from)];
    member.one_shot = nullptr;
    if (is_pair) {
      const PairMemory memory = group_.pair_memory(from, subset.members[1 - i]);
      member.staging = memory.staging;
      member.counters = memory.counters;
      group.staging_bytes = memory.staging_bytes;
    } else {
      // Both ends know the same: arenas begin on a page, and so the offset tells the alignment.
      constexpr auto kAlignment = static_cast<int64_t>(alignof(ShmCounters));
      const int64_t at = (subset.memory[i] + kAlignment - 1) / kAlignment * kAlignment;
      member.counters = reinterpret_cast<ShmCounters*>(member.arena + at);
      member.staging = member.arena + at + static_cast<int64_t>(sizeof(ShmCounters));
    }
    group.members.push_back(member);
  }
  return std::unique_ptr<Backend>(std::make_unique<ShmBackend>(std::move(group), aborted_));
}

}  // namespace

std::unique_ptr<Backend> MakeShmBackend(ShmGroup group) {
  return std::make_unique<ShmBackend>(std::move(group), std::make_shared<AbortReason>());
}

}  // namespace rueda::backends
