#include "device/reduce.h"

#include <atomic>
#include <cstring>

#include "device/integer_scaling.h"
#include "device/kernel_set.h"
#include "device/tree.h"

namespace rueda::device {
namespace {

const KernelSet* Detect() {
  for (const KernelSet& set : KernelSets()) {
    if (set.supported()) return &set;
  }
  return &KernelSets().back();
}

// Chosen at the first use. Relaxed is enough: the sets are constants, so the pointer publishes
// nothing that was written at run time.
std::atomic<const KernelSet*>& Current() {
  static std::atomic<const KernelSet*> current{Detect()};
  return current;
}

TreeArgs ArgsOf(const ReduceSpec& spec, std::span<const void* const> sources,
                std::span<void* const> destinations, int64_t count) {
  TreeArgs args;
  args.sources = sources.data();
  args.source_count = static_cast<int>(sources.size());
  args.destinations = destinations.data();
  args.destination_count = static_cast<int>(destinations.size());
  args.bytes = count * static_cast<int64_t>(SizeOf(spec.dtype));
  if (spec.dtype == DType::kBool) return args;  // "or" and "and" have no factors
  args.prescale = spec.prescale;
  args.divisor = spec.op == ReduceOp::kAverage ? spec.divisor : 1;
  args.postscale = spec.postscale;
  // Each only where a factor is not 1: a large int64 would not survive the way through double.
  if (args.prescale != 1.0) args.scale_inputs = IntegerScaler(spec.dtype);
  if (args.divisor != 1.0 || args.postscale != 1.0) args.scale_result = IntegerScaler(spec.dtype);
  return args;
}

Factors FactorsOf(const TreeArgs& args) {
  if (args.prescale != 1.0 || args.postscale != 1.0) return Factors::kAll;
  return args.divisor != 1.0 ? Factors::kDivisor : Factors::kNone;
}

void Copy(const TreeArgs& args) {
  for (int i = 0; i < args.destination_count; ++i) {
    if (args.destinations[i] == args.sources[0]) continue;
    std::memcpy(args.destinations[i], args.sources[0], static_cast<size_t>(args.bytes));
  }
}

}  // namespace

DefaultFloatingPointMode::DefaultFloatingPointMode() : changed_(!IsDefaultFloatingPointMode()) {
  if (!changed_) return;
  std::fegetenv(&before_);
  UseDefaultFloatingPointMode();
}

DefaultFloatingPointMode::~DefaultFloatingPointMode() {
  if (changed_) std::fesetenv(&before_);
}

void Reduce(const ReduceSpec& spec, std::span<const void* const> sources,
            std::span<void* const> destinations, int64_t count) {
  if (count <= 0 || sources.empty() || destinations.empty()) return;
  const TreeArgs args = ArgsOf(spec, sources, destinations, count);
  const Factors factors = FactorsOf(args);
  if (args.source_count == 1 && factors == Factors::kNone) {
    Copy(args);
    return;
  }
  const KernelSet* set = Current().load(std::memory_order_relaxed);
  ReduceTree(set->find(spec.dtype, spec.op, factors), set->vector_bytes, args);
}

std::string_view InstructionSet() { return Current().load(std::memory_order_relaxed)->name; }

bool ForceInstructionSet(std::string_view name) {
  for (const KernelSet& set : KernelSets()) {
    if (set.name != name || !set.supported()) continue;
    Current().store(&set, std::memory_order_relaxed);
    return true;
  }
  return false;
}

}  // namespace rueda::device
