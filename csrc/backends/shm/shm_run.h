// ShmRun: one bucket on its way through shared memory, unit by unit.
//
// Each unit goes through three stages, each published by one counter (ShmCounters):
//   pack    copy what others need of this rank's part into its staging memory  -> packed
//   consume reduce or copy what the others packed                              -> reduced
//   finish  copy the slices that the others reduced; in place: wait            -> released
// Units overlap: while one waits for peers the next is packed. Small units skip the last stage's
// wait.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "backends/backend.h"
#include "backends/shm/shm_group.h"
#include "backends/shm/shm_plan.h"
#include "backends/shm/staging_ring.h"
#include "backends/shm/store_choice.h"
#include "collectives/piece_cursor.h"
#include "collectives/slices.h"
#include "device/reduce.h"

namespace rueda::backends {

class ShmRun final : public Run {
 public:
  // Group and ring outlive the run.
  ShmRun(const ShmGroup* group, StagingRing* ring);

  // Prepares the next bucket, whose scheme is not kInline; the one before is done.
  void Reset(const Bucket& bucket, const BucketBuffers& buffers, const ShmPlan& plan);
  Result<Progress> Step() override;
  std::vector<int> WaitsFor() const override;

 private:
  static constexpr int64_t kInFlight = 8;

  bool Pack();
  bool Consume();
  bool Finish();

  // Whether this rank chooses for all how the units are written; and its work on one, timed.
  bool Chooses() const;
  template <typename Work>
  void Timed(int64_t unit, Work&& work);

  // Stands aside: the others do not wait for a member that is absent, and it counts their units.
  void SkipUnits();
  void PrepareAbsence();
  void PrepareExchange();

  void PackUnit(int64_t unit);
  void PackPieces(int64_t unit);
  void PackSlices(int64_t unit);
  // Into this rank's staging memory, past the caches where that was chosen.
  void Stage(uint8_t* to, const uint8_t* from, int64_t bytes) const;
  void ConsumeUnit(int64_t unit);
  void FinishUnit(int64_t unit);

  void ReduceInPlace(int64_t unit);
  void ReduceSlice(int64_t unit);
  void ReduceSlicePart(int64_t unit, int64_t offset, const uint8_t* from, uint8_t* to,
                       int64_t bytes);
  void ReduceAll(int64_t unit);
  void ReduceAlone();
  void CopyContributions(int64_t unit);
  void CopyFromRoot(int64_t unit);
  void CopySlices(int64_t unit);
  void ReduceOwnSlice(int64_t unit);
  void CopyParts(int64_t unit);

  // Points sources_ at what every member staged for the unit, `offset` bytes in; this rank's own is
  // at `own` instead, unless null.
  void PointAtStaged(int64_t unit, int64_t offset, const uint8_t* own = nullptr);
  int64_t StagedBytesOf(int64_t unit) const;
  bool ReceivesSlices() const;

  bool MayReuse(uint64_t reusable_after) const;
  // True when the counter of every member that takes part has passed `count`.
  bool AllHave(std::atomic<uint64_t> ShmCounters::*counter, uint64_t count) const;
  void Publish(std::atomic<uint64_t> ShmCounters::*counter, uint64_t count);
  void WakeOthers();
  bool UsesStaging() const;
  bool SharesSlices() const;  // somebody needs the slices that the others reduce
  uint64_t Global(int64_t unit) const { return first_ + static_cast<uint64_t>(unit); }
  uint8_t* Staged(int member, int64_t unit) const;
  collectives::Range SliceOfUnit(int64_t unit, int owner) const;

  const ShmGroup* group_;
  StagingRing* ring_;
  const Bucket* bucket_ = nullptr;
  const BucketBuffers* buffers_ = nullptr;
  ShmPlan plan_;
  device::ReduceSpec spec_;
  uint64_t first_ = 0;  // number of the bucket's first unit in the epoch
  int64_t packed_ = 0, consumed_ = 0, finished_ = 0;    // units of this bucket, by this rank
  std::array<StagingRing::Place, kInFlight> places_{};  // by unit % kInFlight
  int64_t placed_ = 0;
  int64_t copied_ = 0;  // bytes so far, not reset: for CopyWatch
  collectives::PieceCursor input_, output_;
  // Ahead of output_, behind input_: where the unit lies that is consumed.
  collectives::PieceCursor consumed_input_, consumed_output_;
  StoreChoice choice_;
  bool streams_ = false;                    // what was chosen, for the unit that is packed
  std::array<Duration, kInFlight> busy_{};  // by unit % kInFlight, where this rank chooses
  std::vector<int> present_;                // members that take part, ascending
  int present_index_ = 0;                   // this rank's place among them
  std::vector<uint64_t> present_until_;     // by member: the units up to which it took part
  std::vector<uint8_t> zeros_;              // what absent members contribute to a sum
  std::vector<int64_t> part_begins_, part_offsets_;  // of an exchange, by the member who sends
  std::vector<const void*> sources_;                 // scratch, by contribution
  std::vector<void*> destinations_;
};

}  // namespace rueda::backends
