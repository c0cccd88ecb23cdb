// Module _bench_core: the C++ core of `rueda bench` for Python. Moves values across, turns a Status
// into an exception, and lets go of the GIL while anything is measured.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <memory>

#include "bench/beside_compute.h"
#include "bench/board.h"
#include "bench/engine_procedure.h"
#include "bench/limit.h"
#include "bench/measure.h"
#include "bench/placement_probe.h"
#include "bench/socket_procedure.h"
#include "bench/transport_procedure.h"
#include "bindings/control_simulation.h"

namespace py = pybind11;

namespace rueda::bench {
namespace {

using NoGil = py::call_guard<py::gil_scoped_release>;
// How often a rank that waits for others looks for Ctrl-C.
constexpr auto kSlice = std::chrono::milliseconds(100);

void Check(const Status& status) {
  if (status.ok()) return;
  const std::string text = "[" + CodeName(status.code()) + "] " + status.message();
  if (status.code() == StatusCode::kUnsupported) throw py::value_error(text);
  throw std::runtime_error(text);
}

template <typename T>
T ValueOrThrow(Result<T> result) {
  Check(result.status());
  return std::move(result).value();
}

void Meet(Board& board) {
  board.Arrive();
  const auto limit = std::chrono::steady_clock::now() + kMeetingLimit;
  while (true) {
    {
      const py::gil_scoped_release release;
      if (board.AwaitMet(kSlice)) return;
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (std::chrono::steady_clock::now() > limit) {
      throw std::runtime_error("the other ranks of the benchmark did not come");
    }
  }
}

Collective CollectiveOf(int kind, int op, int dtype, int64_t count, int root) {
  return {static_cast<OpKind>(kind), static_cast<ReduceOp>(op), static_cast<DType>(dtype), count,
          root};
}

std::shared_ptr<engine::Engine> EngineFrom(const py::capsule& capsule) {
  return *capsule.get_pointer<std::shared_ptr<engine::Engine>>();
}

py::memoryview ViewOf(std::span<uint8_t> bytes) {
  return py::memoryview::from_memory(bytes.data(), static_cast<py::ssize_t>(bytes.size()));
}

// Descriptors come as they do to Engine.start. The job itself is a value of this module, the
// topology and the settings are not: those classes are _core's.
std::shared_ptr<TransportJob> StartTransport(int rank, int size,
                                             const std::map<std::string, std::string>& variables,
                                             const std::vector<int>& arenas,
                                             const std::vector<int>& pidfds,
                                             const std::vector<int>& streams) {
  engine::JobLinks links = engine::TakeOver(arenas, pidfds, streams, {});
  const ParsedConfig parsed = ValueOrThrow(ParseConfig(variables));
  return ValueOrThrow(TransportJob::Start(Topology{rank, size, rank, size, 0, 1, {}}, parsed.config,
                                          std::move(links)));
}

void BindProcedures(py::module_& module) {
  py::class_<Procedure>(module, "Procedure")
      .def(
          "call", [](Procedure& self) { Check(self.Call()); }, NoGil())
      .def_property_readonly("input", [](Procedure& self) { return ViewOf(self.input()); })
      .def_property_readonly("output", [](Procedure& self) { return ViewOf(self.output()); })
      .def_property_readonly("wants_fresh_input", &Procedure::wants_fresh_input);
  py::class_<LimitProcedure, Procedure>(module, "LimitProcedure")
      .def(py::init<Board*, int64_t>(), py::arg("board"), py::arg("bytes"), py::keep_alive<1, 2>());
  py::class_<EngineProcedure, Procedure>(module, "EngineProcedure")
      .def(py::init([](const py::capsule& engine, const std::string& name, int kind, int op,
                       int dtype, int64_t count, int root, bool shared) {
             return ValueOrThrow(EngineProcedure::Make(
                 EngineFrom(engine), name, CollectiveOf(kind, op, dtype, count, root), shared));
           }),
           py::arg("engine"), py::arg("name"), py::kw_only(), py::arg("kind"), py::arg("op"),
           py::arg("dtype"), py::arg("count"), py::arg("root"), py::arg("shared"));
  py::class_<TransportProcedure, Procedure>(module, "TransportProcedure")
      .def(py::init([](Board* board, std::shared_ptr<TransportJob> job, int kind, int op, int dtype,
                       int64_t count, int root, bool shared) {
             return ValueOrThrow(TransportProcedure::Make(
                 board, std::move(job), CollectiveOf(kind, op, dtype, count, root), shared));
           }),
           py::keep_alive<1, 2>(), py::arg("board"), py::arg("job"), py::kw_only(), py::arg("kind"),
           py::arg("op"), py::arg("dtype"), py::arg("count"), py::arg("root"), py::arg("shared"))
      .def_property_readonly("placement", &TransportProcedure::placement)
      .def("set_placements", &TransportProcedure::SetPlacements, py::arg("placements"));
  py::class_<SocketProcedure, Procedure>(module, "SocketProcedure")
      .def(py::init(
               [](int rank, int size, int next, int previous, int op, int dtype, int64_t count) {
                 return ValueOrThrow(SocketProcedure::Make(
                     rank, size, next, previous,
                     CollectiveOf(static_cast<int>(OpKind::kAllreduce), op, dtype, count, -1)));
               }),
           py::kw_only(), py::arg("rank"), py::arg("size"), py::arg("next"), py::arg("previous"),
           py::arg("op"), py::arg("dtype"), py::arg("count"));
}

void BindMeasuring(py::module_& module) {
  py::class_<Sample>(module, "Sample")
      .def_readonly("seconds", &Sample::seconds)
      .def_readonly("call_seconds", &Sample::call_seconds);
  module.def(
      "measure",
      [](Board& board, Procedure& procedure, int64_t calls, int64_t block) {
        Result<Sample> sample = [&] {
          const py::gil_scoped_release release;
          return Measure(board, procedure, calls, block);
        }();
        return ValueOrThrow(std::move(sample));
      },
      py::arg("board"), py::arg("procedure"), py::arg("calls"), py::arg("block"));
  py::class_<BesideFigures>(module, "BesideFigures")
      .def_readonly("alone_per_second", &BesideFigures::alone_per_second)
      .def_readonly("waking_per_second", &BesideFigures::waking_per_second)
      .def_readonly("beside_per_second", &BesideFigures::beside_per_second)
      .def_readonly("call_seconds", &BesideFigures::call_seconds);
  module.def(
      "measure_beside",
      [](Procedure& procedure, int slices) {
        BesidePlan plan;
        plan.slices = slices;
        Result<BesideFigures> figures = [&] {
          const py::gil_scoped_release release;
          return MeasureBeside(procedure, plan);
        }();
        return ValueOrThrow(std::move(figures));
      },
      py::arg("procedure"), py::arg("slices"));
}

}  // namespace
}  // namespace rueda::bench

PYBIND11_MODULE(_bench_core, module) {
  using namespace rueda;
  using namespace rueda::bench;
  module.attr("BOARD_BYTES") = sizeof(BoardMemory);
  module.attr("MOST_RANKS") = kMostRanks;
  py::class_<Board>(module, "Board")
      .def(py::init([](int file, int rank, int size) {
             return ValueOrThrow(Board::Attach(file, rank, size));
           }),
           py::arg("file"), py::arg("rank"), py::arg("size"))
      .def_property_readonly("rank", &Board::rank)
      .def_property_readonly("size", &Board::size)
      .def("meet", &Meet)
      .def(
          "start_line", [](Board& self) { Check(self.StartLine()); }, NoGil())
      .def("post", &Board::Post, py::arg("index"), py::arg("figure"))
      .def("read", &Board::Read, py::arg("rank"), py::arg("index"))
      .def(
          "probe", [](Board& self) { return ValueOrThrow(ProbePlacement(self)); }, NoGil());
  py::class_<TransportJob, std::shared_ptr<TransportJob>>(module, "TransportJob")
      .def(py::init(&StartTransport), py::kw_only(), py::arg("rank"), py::arg("size"),
           py::arg("variables"), py::arg("arena_fds"), py::arg("pidfds"), py::arg("stream_fds"));
  BindProcedures(module);
  BindMeasuring(module);
  BindControlSimulation(module);
}
