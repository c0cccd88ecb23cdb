#include "bench/measure.h"

#include <algorithm>
#include <chrono>

#include "bench/limit.h"

namespace rueda::bench {
namespace {

using SteadyTime = std::chrono::steady_clock;

double SecondsSince(SteadyTime::time_point began) {
  return std::chrono::duration<double>(SteadyTime::now() - began).count();
}

Result<Sample> MeasureFresh(Board& board, Procedure& procedure, int64_t calls) {
  Sample sample;
  double total = 0;
  for (int64_t call = 0; call < calls; ++call) {
    ReadAndWrite(procedure.input(), 0);
    RUEDA_RETURN_IF_ERROR(board.StartLine());
    const auto began = SteadyTime::now();
    RUEDA_RETURN_IF_ERROR(procedure.Call());
    sample.call_seconds.push_back(SecondsSince(began));
    total += sample.call_seconds.back();
  }
  sample.seconds = total / static_cast<double>(calls);
  return sample;
}

Result<Sample> MeasureInBlocks(Board& board, Procedure& procedure, int64_t calls, int64_t block) {
  Sample sample;
  RUEDA_RETURN_IF_ERROR(board.StartLine());
  const auto began = SteadyTime::now();
  auto block_began = began;
  for (int64_t done = 0; done < calls;) {
    const int64_t now = std::min(block, calls - done);
    for (int64_t i = 0; i < now; ++i) RUEDA_RETURN_IF_ERROR(procedure.Call());
    done += now;
    const auto ended = SteadyTime::now();
    const std::chrono::duration<double> took = ended - block_began;
    sample.call_seconds.push_back(took.count() / static_cast<double>(now));
    block_began = ended;
  }
  sample.seconds = SecondsSince(began) / static_cast<double>(calls);
  return sample;
}

}  // namespace

Result<Sample> Measure(Board& board, Procedure& procedure, int64_t calls, int64_t block) {
  // One long call is not warmed up: it is longer than what caches and sleepers make of the first.
  const bool warms_up = calls > 1;
  if (procedure.wants_fresh_input()) {
    if (!warms_up) return MeasureFresh(board, procedure, calls);
    ReadAndWrite(procedure.input(), 0);
    RUEDA_RETURN_IF_ERROR(board.StartLine());
    RUEDA_RETURN_IF_ERROR(procedure.Call());
    return MeasureFresh(board, procedure, calls);
  }
  if (warms_up) RUEDA_RETURN_IF_ERROR(procedure.Call());
  return MeasureInBlocks(board, procedure, calls, block);
}

}  // namespace rueda::bench
