// ShmOneShot: meetings in the arenas of one host.
//
// Meetings are numbered. The verdicts lie in the arena of the first member, in one word that goes
// from each to the next by compare-and-exchange. Each rank has two places for what it shows, used
// in turn after each agreement. It may write one again without asking: the one before the last
// agreement is read by nobody, since all came to the last one when they had done with it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "backends/one_shot.h"
#include "backends/shm/shm_group.h"

namespace rueda::backends {

class ShmOneShot final : public OneShot {
 public:
  // The group outlives it, and its members have one-shot memory, zeroed at first. Contributions of
  // `most_bytes`, at most kMostOneShotBytes.
  ShmOneShot(const ShmGroup* group, int64_t most_bytes);

  int64_t MostBytes() const override { return most_bytes_; }
  void Come(uint64_t wish, const BucketBuffers& buffers) override;
  Sight Look() override;
  void Reduce(const Bucket& bucket, const BucketBuffers& buffers) override;
  void CallOff() override;
  void End() override;

 private:
  // The last meeting that has a verdict, and whether an odd number has been agreed on so far. By
  // that a rank knows whether the one that it came to was, whatever has been called off since:
  // nothing further can be agreed on without it.
  struct Verdict {
    uint64_t meeting;
    bool odd;
  };
  Verdict Read() const;
  // The next verdict, unless another rank has written it.
  void Write(Verdict last, bool agreed);

  Sight LookFromOutside();
  // Whether the verdict on the meeting that this rank came to can be told, and which it is.
  bool CanTell(bool* agreed) const;
  Sight Conclude(Verdict verdict);
  bool HasCome(size_t member) const {
    return CellOf(member).meeting.load(std::memory_order_acquire) == meeting_;
  }

  OneShotMemory& MemoryOf(size_t member) const { return *group_->members[member].one_shot; }
  OneShotCell& CellOf(size_t member) const { return MemoryOf(member).cells[agreed_ % 2]; }
  // Where contributions of so many bytes lie, after so many agreements.
  static uint8_t* PayloadIn(OneShotMemory& memory, uint64_t agreed, int64_t bytes);
  OneShotMemory& shared() const { return MemoryOf(0); }

  const ShmGroup* const group_;
  const int64_t most_bytes_;
  const size_t own_;
  uint64_t meeting_ = 1;  // the open one as far as this rank knows, or the one that it has come to
  uint64_t agreed_ = 0;   // how many were
  bool came_ = false;
  std::vector<const void*> sources_;  // scratch, by member
};

}  // namespace rueda::backends
