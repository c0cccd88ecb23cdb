// Slices: which part of a bucket each rank owns. Pure; the same answer on every rank.
//
// The owner of a slice reads every rank's contribution to it and adds them (reduce-scatter); then
// the slices are shared (all-gather). Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms
// for clusters of workstations", 2009, show that no division moves fewer bytes.
#pragma once

#include <cstdint>

namespace rueda::collectives {

struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

// The part of [0, total) that owner `index` of `owners` has. Inner borders are multiples of `grain`
// (a cache line, so that no two owners write the same one); the parts differ by at most one grain.
Range SliceOf(int64_t total, int owners, int index, int64_t grain);

}  // namespace rueda::collectives
