// KernelSet: the inner loops of one instruction set, and what they are handed.
//
// The loops are written once, in *.inc files, and compiled into a namespace of their own with the
// flags of each set; what surrounds them (tree.h) is compiled once. Which sets there are, and how
// this processor is asked, is known to one file for each architecture (cpu_*.cc). Values only: any
// thread.
#pragma once

#include <cstdint>
#include <span>

#include "core/dtype.h"
#include "core/types.h"

namespace rueda::device {

// Sources that one loop reads; their small tree stays in registers.
inline constexpr int kGroup = 4;
// Bytes of each source that pass through the levels at a time; a multiple of every vector.
// 2 KiB: with eight sources in place, four times as much fell out of the first cache (-30 %).
inline constexpr int64_t kBlockBytes = 2048;
// Accumulators take at most this many times the bytes of the elements.
inline constexpr int64_t kMaxWidening = 2;

// One run of one loop.
struct Pass {
  const char* inputs[kGroup] = {};
  int64_t vectors = 0;  // of each input; at most a block where there are levels
  // Sums of earlier groups: level k, which is full where bit k is set, begins at byte k *
  // kBlockBytes * (the widening of the dtype).
  char* levels = nullptr;
  unsigned full = 0;
  void* const* outputs = nullptr;
  int output_count = 0;
  int64_t output_offset = 0;
  // The factors of ReduceSpec. Integer loops do not look at them (integer_scaling.h).
  double prescale = 1.0;
  double divisor = 1.0;
  double postscale = 1.0;
};

using Loop = void (*)(const Pass& pass);

// The loops of one dtype, op and Factors.
struct Loops {
  // Carries the sum of four inputs up through the full levels, into the lowest one that is not.
  Loop push;
  // [n - 1]: folds n inputs with the full levels, lowest first, and writes all outputs.
  Loop finish[kGroup];
  // [n - 1]: the same without levels into one output, two, and n. Null where not worth the code.
  Loop finish_one[kGroup];
  Loop finish_two[kGroup];
  Loop finish_all[kGroup];
};

// Which factors the loops have to apply; each includes the ones before it.
enum class Factors : uint8_t { kNone, kDivisor, kAll };

struct KernelSet {
  const char* name;
  int64_t vector_bytes;
  bool (*supported)();  // whether this machine can run it
  // Never fails for a valid dtype and op.
  const Loops& (*find)(DType dtype, ReduceOp op, Factors factors);
};

// All sets in this build, the preferred one first; the last one runs on each machine that can run
// the build.
std::span<const KernelSet> KernelSets();

namespace baseline {
const Loops& FindLoops(DType dtype, ReduceOp op, Factors factors);
}
namespace avx2 {
const Loops& FindLoops(DType dtype, ReduceOp op, Factors factors);
}
namespace avx512 {
const Loops& FindLoops(DType dtype, ReduceOp op, Factors factors);
}
namespace avx512bf16 {
const Loops& FindLoops(DType dtype, ReduceOp op, Factors factors);
}
namespace neon {
const Loops& FindLoops(DType dtype, ReduceOp op, Factors factors);
}

}  // namespace rueda::device
