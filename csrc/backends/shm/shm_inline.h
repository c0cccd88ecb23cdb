// ShmInline: buckets that fit into one cache line a member (kInlineBytes), and barriers.
//
// Each member writes its contribution into a cell beside the bucket's number, waits until all cells
// have that number, and reduces them by itself. Such buckets have no units and use no staging
// memory, so they are numbered by themselves.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/backend.h"
#include "backends/shm/shm_group.h"

namespace rueda::backends {

class ShmInline final : public Run {
 public:
  // The group outlives it.
  explicit ShmInline(const ShmGroup* group);

  // Prepares the next bucket whose scheme is kInline; the one before is done.
  void Reset(const Bucket& bucket, const BucketBuffers& buffers);
  Result<Progress> Step() override;
  std::vector<int> WaitsFor() const override;

 private:
  void Pack();
  void Reduce();
  ShmCell& CellOf(const ShmMember& member) const { return member.counters->cells[number_ % 2]; }
  bool HasCell(const ShmMember& member) const;

  const ShmGroup* group_;
  const Bucket* bucket_ = nullptr;
  const BucketBuffers* buffers_ = nullptr;
  uint64_t number_ = 0;  // of the bucket, from 1 on
  bool packed_ = false;
  std::vector<const void*> sources_;  // scratch, by member
};

}  // namespace rueda::backends
