#include "bindings/control_simulation.h"

#include <pybind11/stl.h>

#include <array>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "bench/simulation/control_simulation.h"
#include "bench/simulation/thread_cpu_clock.h"

namespace py = pybind11;

namespace rueda::bench {
namespace {

// Latency and CPU of a message in seconds, bytes a second.
using LinkNumbers = std::array<double, 3>;

const std::map<std::string, ControlCase>& Cases() {
  static const std::map<std::string, ControlCase> cases = {
      {"cached", ControlCase::kCached}, {"uncached", ControlCase::kUncached},
      {"shapes", ControlCase::kShapes}, {"sets", ControlCase::kSets},
      {"join", ControlCase::kJoin},     {"mix", ControlCase::kMix}};
  return cases;
}

Duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

Link LinkFrom(const LinkNumbers& numbers) {
  return {FromSeconds(numbers[0]), numbers[1], FromSeconds(numbers[2])};
}

// A simulation and the clocks that it measures with.
class ClockedSimulation {
 public:
  explicit ClockedSimulation(const ControlOptions& options) {
    CostMeter meter(&clock_, CostMeter::OverheadOf(clock_));
    meter.LeaveOutOthers(&own_clock_, CostMeter::OverheadOf(own_clock_));
    auto made = ControlSimulation::Make(options, meter);
    Check(made.status());
    simulation_ = std::move(*made);
  }

  ControlStep Step() {
    Result<ControlStep> step = simulation_->Step();
    Check(step.status());
    return *step;
  }

 private:
  static void Check(const Status& status) {
    if (status.ok()) return;
    const std::string text = "[" + CodeName(status.code()) + "] " + status.message();
    if (status.code() == StatusCode::kInvalidArgument) throw std::invalid_argument(text);
    throw std::runtime_error(text);
  }

  SteadyClock clock_;
  ThreadCpuClock own_clock_;
  std::unique_ptr<ControlSimulation> simulation_;
};

ControlTopology TopologyFrom(const std::string& name) {
  if (name == "star") return ControlTopology::kStar;
  if (name == "tree") return ControlTopology::kTree;
  throw py::value_error("there is no topology '" + name + "'");
}

std::unique_ptr<ClockedSimulation> Make(const std::string& which, int ranks, int tensors,
                                        int64_t tensor_bytes, uint64_t seed, double skew_s,
                                        const LinkNumbers& within_host,
                                        const LinkNumbers& between_hosts, int ranks_per_host,
                                        const std::string& topology, int fan_out, double patience_s,
                                        int misplans) {
  const auto found = Cases().find(which);
  if (found == Cases().end()) throw py::value_error("there is no case '" + which + "'");
  ControlOptions options;
  options.workload = {found->second, ranks, tensors, tensor_bytes, seed};
  options.links = {LinkFrom(within_host), LinkFrom(between_hosts), ranks_per_host};
  options.topology = TopologyFrom(topology);
  options.fan_out = fan_out;
  options.patience = FromSeconds(patience_s);
  options.skew = FromSeconds(skew_s);
  options.misplans = misplans;
  const py::gil_scoped_release release;
  return std::make_unique<ClockedSimulation>(options);
}

// Times as seconds.
template <Duration ControlStep::*kMember>
double SecondsOf(const ControlStep& step) {
  return Seconds(step.*kMember);
}

void BindStep(py::module_& module) {
  py::class_<ControlStep>(module, "ControlStep")
      .def_property_readonly("total", &SecondsOf<&ControlStep::total>)
      .def_property_readonly("up", &SecondsOf<&ControlStep::up>)
      .def_property_readonly("decide", &SecondsOf<&ControlStep::decide>)
      .def_property_readonly("down", &SecondsOf<&ControlStep::down>)
      .def_property_readonly("plan", &SecondsOf<&ControlStep::plan>)
      .def_property_readonly("root_cpu", &SecondsOf<&ControlStep::root_cpu>)
      .def_property_readonly("other_cpu", &SecondsOf<&ControlStep::other_cpu>)
      .def_property_readonly("busiest_cpu", &SecondsOf<&ControlStep::busiest_cpu>)
      .def_readonly("messages", &ControlStep::messages)
      .def_readonly("root_messages", &ControlStep::root_messages)
      .def_readonly("bytes", &ControlStep::bytes)
      .def_readonly("root_bytes", &ControlStep::root_bytes)
      .def_readonly("frames", &ControlStep::frames);
}

}  // namespace

void BindControlSimulation(py::module_& module) {
  BindStep(module);
  py::class_<ClockedSimulation>(module, "ControlSimulation")
      .def(py::init(&Make), py::kw_only(), py::arg("case"), py::arg("ranks"), py::arg("tensors"),
           py::arg("tensor_bytes"), py::arg("seed"), py::arg("skew"), py::arg("within_host"),
           py::arg("between_hosts"), py::arg("ranks_per_host"), py::arg("topology"),
           py::arg("fan_out"), py::arg("patience"), py::arg("misplans") = -1)
      .def("step", &ClockedSimulation::Step, py::call_guard<py::gil_scoped_release>());
}

}  // namespace rueda::bench
