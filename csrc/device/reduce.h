// Reduce: sums the same elements of several ranks in the canonical order, on the CPU.
//
// The order is the balanced binary tree over rank order of docs/architecture.md, "Numbers":
//   sum(lo, hi) = sum(lo, mid) + sum(mid, hi), mid = lo + the largest power of two below hi - lo.
// 16-bit floats are added in float32 and rounded once, to nearest even; Average divides the
// accumulator. The same bits come out of every instruction set, denormals included, because no
// multiply-add is contracted and the thread runs with the default floating-point mode. A NaN that
// is computed leaves as the positive quiet NaN; of two zeros that tie in Min or Max the later
// rank's wins. Bool: Sum and Max are or, Product and Min are and; any byte but 0 is true.
#pragma once

#include <cfenv>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/dtype.h"
#include "core/types.h"

namespace rueda::device {

struct ReduceSpec {
  DType dtype = DType::kFloat32;
  ReduceOp op = ReduceOp::kSum;
  int divisor = 1;         // Average alone: the number of ranks; integers divide through double
  double prescale = 1.0;   // applied to each input in the accumulator's type
  double postscale = 1.0;  // applied to the accumulated (and divided) value
};

// Reduces sources[0..n)[0..count) into each of destinations. A destination may be one of the
// sources (in place) but may not overlap one otherwise. Any alignment. Allocates nothing, never
// blocks; any thread, provided UseDefaultFloatingPointMode() was called on it.
void Reduce(const ReduceSpec& spec, std::span<const void* const> sources,
            std::span<void* const> destinations, int64_t count);

// Clears flush-to-zero and denormals-are-zero and sets round-to-nearest on the calling thread, so
// that it adds as every other rank does whatever its creator had set.
void UseDefaultFloatingPointMode();
// Whether it surely is so already.
bool IsDefaultFloatingPointMode();

// The same for a scope, of a thread that is not ours.
class DefaultFloatingPointMode {
 public:
  DefaultFloatingPointMode();
  ~DefaultFloatingPointMode();
  DefaultFloatingPointMode(const DefaultFloatingPointMode&) = delete;
  DefaultFloatingPointMode& operator=(const DefaultFloatingPointMode&) = delete;

 private:
  const bool changed_;
  std::fenv_t before_;  // where it was changed
};

// The instruction set in use: "avx512bf16", "avx512", "avx2" or "baseline" on x86-64, "neon" on
// AArch64, "baseline" elsewhere.
std::string_view InstructionSet();

// For tests: uses the named set from here on, if this machine has it. Not thread-safe.
bool ForceInstructionSet(std::string_view name);

}  // namespace rueda::device
