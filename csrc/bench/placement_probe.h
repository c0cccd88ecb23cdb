// PlacementProbe: how far apart the processors are that the ranks run on right now.
//
// A cache line goes to and fro between two ranks; what a round trip takes tells whether they share
// a core, a last-level cache, or neither. Virtual processors move between physical ones while a
// program runs, so the kernel's topology does not answer this, and one answer does not last.
#pragma once

#include "bench/board.h"
#include "core/status.h"

namespace rueda::bench {

// Nanoseconds of a round trip between neighbouring ranks: the median for the pair that is slowest.
// All ranks call it together and get the same answer; 0 with one rank. Spins: only where every rank
// has a processor of its own.
Result<double> ProbePlacement(Board& board);

}  // namespace rueda::bench
