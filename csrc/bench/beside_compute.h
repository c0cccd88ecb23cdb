// BesideCompute: what calls and a computing thread beside them cost each other.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/procedure.h"
#include "core/clock.h"
#include "core/status.h"

namespace rueda::bench {

struct BesideFigures {
  double alone_per_second = 0;   // units of computing while the caller sleeps
  double waking_per_second = 0;  // while it wakes up once a period, and calls nothing
  double beside_per_second = 0;  // while it makes a call a period
  std::vector<double> call_seconds;
};

struct BesidePlan {
  Duration slice = std::chrono::milliseconds(100);  // of each kind, in turn
  int slices = 5;                                   // of each kind
  Duration period = std::chrono::milliseconds(1);   // between calls
};

// A thread of this rank computes all the time; the caller sleeps in one slice, wakes up once a
// period in the next, and makes a call a period in the third. What waking up costs is the
// machine's: no library that is called as often can take less. All ranks call it together and make
// the same number of calls.
Result<BesideFigures> MeasureBeside(Procedure& procedure, const BesidePlan& plan);

}  // namespace rueda::bench
