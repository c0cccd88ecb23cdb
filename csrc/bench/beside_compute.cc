#include "bench/beside_compute.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "transport/doorbell.h"
#include "transport/thread_setup.h"

namespace rueda::bench {
namespace {

// Some hundred nanoseconds of dependent arithmetic that touches no memory.
constexpr int kStepsInUnit = 256;

class ComputingThread {
 public:
  ComputingThread() : thread_(Start()) {}
  ~ComputingThread() {
    stopping_.store(true, std::memory_order_relaxed);
    thread_.join();
  }
  ComputingThread(const ComputingThread&) = delete;
  ComputingThread& operator=(const ComputingThread&) = delete;

  uint64_t units() const { return units_.load(std::memory_order_relaxed); }

 private:
  std::thread Start() {
    const transport::SignalsBlocked blocked;
    return std::thread([this] { Compute(); });
  }

  void Compute() {
    transport::NameThisThread("bench-compute");
    uint64_t state = 1;
    while (!stopping_.load(std::memory_order_relaxed)) {
      for (int step = 0; step < kStepsInUnit; ++step) {
        state = state * 6364136223846793005U + 1442695040888963407U;
      }
      last_.store(state, std::memory_order_relaxed);
      units_.fetch_add(1, std::memory_order_relaxed);
    }
  }

  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> units_{0};
  std::atomic<uint64_t> last_{0};
  std::thread thread_;  // last: it uses the others
};

void SleepUntil(TimePoint until) {
  const std::atomic<uint32_t> never_rung{0};
  while (std::chrono::steady_clock::now() < until) {
    transport::FutexWait(&never_rung, 0, until);
  }
}

// Units and seconds, added up over slices.
struct Rate {
  uint64_t units = 0;
  double seconds = 0;
  double per_second() const { return seconds > 0 ? static_cast<double>(units) / seconds : 0; }
};

// One slice, in which the caller does something once a period and then sleeps until it is over.
template <typename Act>
Status Spend(const ComputingThread& computing, const BesidePlan& plan, Rate* rate, Act&& act) {
  const uint64_t before = computing.units();
  const TimePoint began = std::chrono::steady_clock::now();
  for (int64_t period = 1; period <= plan.slice / plan.period; ++period) {
    RUEDA_RETURN_IF_ERROR(act(began + period * plan.period));
  }
  SleepUntil(began + plan.slice);
  const std::chrono::duration<double> lasted = std::chrono::steady_clock::now() - began;
  rate->units += computing.units() - before;
  rate->seconds += lasted.count();
  return Status::Ok();
}

}  // namespace

Result<BesideFigures> MeasureBeside(Procedure& procedure, const BesidePlan& plan) {
  BesideFigures figures;
  Rate alone, waking, beside;
  const auto sleep = [](TimePoint) { return Status::Ok(); };
  const auto wake = [](TimePoint at) {
    SleepUntil(at);
    return Status::Ok();
  };
  const auto call = [&](TimePoint at) {
    SleepUntil(at);
    const TimePoint called = std::chrono::steady_clock::now();
    RUEDA_RETURN_IF_ERROR(procedure.Call());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - called;
    figures.call_seconds.push_back(took.count());
    return Status::Ok();
  };
  const ComputingThread computing;
  for (int turn = 0; turn < plan.slices; ++turn) {
    // The ranks begin together; the second slice when the first one is over.
    RUEDA_RETURN_IF_ERROR(procedure.Call());
    RUEDA_RETURN_IF_ERROR(Spend(computing, plan, &alone, sleep));
    RUEDA_RETURN_IF_ERROR(Spend(computing, plan, &waking, wake));
    RUEDA_RETURN_IF_ERROR(procedure.Call());
    RUEDA_RETURN_IF_ERROR(Spend(computing, plan, &beside, call));
  }
  figures.alone_per_second = alone.per_second();
  figures.waking_per_second = waking.per_second();
  figures.beside_per_second = beside.per_second();
  return figures;
}

}  // namespace rueda::bench
