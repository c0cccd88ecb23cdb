#include "bench/simulation/plan_ledger.h"

#include <bit>
#include <string>
#include <string_view>

namespace rueda::bench {
namespace {

// FNV-1a, by 64-bit words: http://www.isthe.com/chongo/tech/comp/fnv/
class Digest {
 public:
  void Add(uint64_t word) { state_ = (state_ ^ word) * 0x100000001B3U; }
  void AddText(std::string_view text) {
    Add(text.size());
    for (const char c : text) Add(static_cast<unsigned char>(c));
  }
  template <typename Values>
  void AddAll(const Values& values) {
    Add(values.size());
    for (const auto value : values) Add(static_cast<uint64_t>(value));
  }
  uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0xCBF29CE484222325U;
};

void AddBucket(const Bucket& bucket, Digest& digest) {
  for (const int value : {static_cast<int>(bucket.kind), static_cast<int>(bucket.op),
                          static_cast<int>(bucket.dtype), bucket.divisor, bucket.root}) {
    digest.Add(static_cast<uint64_t>(value));
  }
  digest.Add(std::bit_cast<uint64_t>(bucket.prescale));
  digest.Add(std::bit_cast<uint64_t>(bucket.postscale));
  digest.Add(bucket.process_set);
  digest.AddAll(bucket.counts);
  digest.AddAll(bucket.placements);
  digest.AddAll(bucket.absent);
}

}  // namespace

uint64_t DigestOf(const PlannedSet& planned) {
  Digest digest;
  for (const control::PlannedBucket& bucket : *planned.buckets) {
    AddBucket(bucket.bucket, digest);
    for (const control::BucketSlice& slice : bucket.slices) {
      digest.AddText(planned.agreed[slice.agreed].request->name);
      digest.Add(slice.tensor);
    }
    for (const size_t index : bucket.completes) {
      digest.AddText(planned.agreed[index].request->name);
    }
  }
  return digest.value();
}

Status PlanLedger::Note(uint64_t frame, int rank, const PlannedSet& planned) {
  const First own{rank, DigestOf(planned), planned.buckets->size()};
  const First& first = first_.emplace(std::pair(frame, planned.process_set), own).first->second;
  if (first.digest == own.digest) return Status::Ok();
  return {StatusCode::kMismatch,
          "rank " + std::to_string(rank) + " planned frame " + std::to_string(frame) +
              " of process set " + std::to_string(planned.process_set) + " as " +
              std::to_string(own.buckets) + " buckets, rank " + std::to_string(first.rank) +
              " as " + std::to_string(first.buckets) +
              " others. Please report this: every rank "
              "has to run the same."};
}

}  // namespace rueda::bench
