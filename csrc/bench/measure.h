// Measure: times one sample of a procedure, on all ranks together.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/board.h"
#include "bench/procedure.h"
#include "core/status.h"

namespace rueda::bench {

struct Sample {
  double seconds = 0;                // of one call on this rank, the mean of the sample
  std::vector<double> call_seconds;  // of single calls, or of one in blocks of them
};

// `calls` calls, several of them after one that does not count. Back to back, and timed in blocks
// of `block` calls (so that reading the clock costs little); or one by one, each on freshly written
// input and from a start line of its own, where the procedure wants that.
Result<Sample> Measure(Board& board, Procedure& procedure, int64_t calls, int64_t block);

}  // namespace rueda::bench
