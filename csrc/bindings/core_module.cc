// Module _core: the engine for Python. Moves values across and turns a Status into an exception;
// holds no logic and sees no torch header.
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>

#include "bindings/no_gil.h"
#include "bindings/shortcut.h"
#include "core/config.h"
#include "engine/engine.h"
#include "engine/job.h"

namespace py = pybind11;

namespace rueda {
namespace {

using SharedEngine = std::shared_ptr<engine::Engine>;
constexpr const char* kEngineCapsule = "rueda.engine";

// The caller's mistakes are ValueErrors, the job's are HorovodInternalErrors (docs/errors.md).
[[noreturn]] void Throw(const Status& status) {
  const std::string text = "[" + CodeName(status.code()) + "] " + status.message();
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kDuplicateName:
    case StatusCode::kUnsupported:
      throw py::value_error(text);
    default:
      break;
  }
  const py::object type = py::module_::import("rueda.exceptions").attr("HorovodInternalError");
  py::object blamed = py::none();
  if (status.blamed_rank() >= 0) blamed = py::int_(status.blamed_rank());
  const py::object error = type(text, CodeName(status.code()), blamed);
  PyErr_SetObject(type.ptr(), error.ptr());
  throw py::error_already_set();
}

template <typename T>
T ValueOrThrow(Result<T> result) {
  if (!result.ok()) Throw(result.status());
  return std::move(result).value();
}

// What the program's main thread is doing: see rueda/_stall.py. Called on a thread of the engine's
// that has no Python state, and only while an engine runs: before the interpreter is taken down.
std::string DescribeProgram() {
  // Not pybind11's guard: where the interpreter ends meanwhile, this unwinds the thread.
  const PyGILState_STATE state = PyGILState_Ensure();
  std::string text;
  try {
    // It was imported by init(), so nothing is looked for here.
    text = py::cast<std::string>(py::module_::import("rueda._stall").attr("describe_program")());
  } catch (const std::exception&) {
    text = "answers, but cannot say where it is";
  }
  PyGILState_Release(state);
  return text;
}

// The last reference joins the engine's threads, one of which may wait for the GIL.
void DropEngine(engine::Engine* engine) {
  if (PyGILState_Check() == 0) {
    delete engine;
    return;
  }
  const NoGil no_gil;
  delete engine;
}

void ThrowUnlessOk(const Status& status) {
  if (!status.ok()) Throw(status);
}

SharedEngine Start(const Topology& topology, const Config& config, const std::vector<int>& arenas,
                   const std::vector<int>& pidfds, const std::vector<int>& streams,
                   const std::vector<int>& control) {
  engine::JobLinks links = engine::TakeOver(arenas, pidfds, streams, control);
  links.hooks = {&DescribeProgram, engine::NoticesTo(config.report_fd, topology.rank)};
  auto started = WithoutGil([&] {
    return engine::StartJob(topology, config, std::move(links),
                            StandardErrorLog(topology.rank, config.lowest_log_level()));
  });
  return {ValueOrThrow(std::move(started)).release(), &DropEngine};
}

// For _torch, which shares no pybind11 types with this module: PyTorch bundles its own pybind11.
py::capsule CapsuleOf(const SharedEngine& engine) {
  return py::capsule(new SharedEngine(engine), kEngineCapsule, [](PyObject* capsule) {
    auto* held = static_cast<SharedEngine*>(PyCapsule_GetPointer(capsule, kEngineCapsule));
    // The last reference may join a thread: never with the GIL held.
    const NoGil no_gil;
    delete held;
  });
}

void BindConfig(py::module_& module) {
  py::class_<OptionInfo>(module, "OptionInfo")
      .def_readonly("name", &OptionInfo::name)
      .def_readonly("kind", &OptionInfo::kind)
      .def_readonly("default", &OptionInfo::default_text)
      .def_readonly("range", &OptionInfo::range)
      .def_readonly("meaning", &OptionInfo::meaning)
      .def_readonly("set_by_launcher", &OptionInfo::set_by_launcher);
  py::class_<Config>(module, "Config")
      .def_readonly("backend", &Config::backend)
      .def_readonly("reducer_bucket_bytes", &Config::reducer_bucket_bytes)
      .def_readonly("reducer_first_bucket_bytes", &Config::reducer_first_bucket_bytes)
      .def_property_readonly("reducer_sizes_given",
                             [](const Config& config) {
                               return config.IsGiven("RUEDA_REDUCER_BUCKET_BYTES") ||
                                      config.IsGiven("RUEDA_REDUCER_FIRST_BUCKET_BYTES");
                             })
      .def_readonly("reducer_learn", &Config::reducer_learn)
      .def_readonly("arena_bytes", &Config::arena_bytes)
      .def_readonly("timeline", &Config::timeline)
      .def_readonly("timeline_mark_cycles", &Config::timeline_mark_cycles)
      .def_readonly("dynamic_process_sets", &Config::dynamic_process_sets)
      .def_readonly("start_timeout_seconds", &Config::start_timeout_seconds)
      .def_readonly("rendezvous", &Config::rendezvous);
  module.def("list_options", &ListOptions);
  module.def("parse_config", [](const std::map<std::string, std::string>& variables) {
    ParsedConfig parsed = ValueOrThrow(ParseConfig(variables));
    return py::make_tuple(parsed.config, parsed.warnings);
  });
}

}  // namespace
}  // namespace rueda

PYBIND11_MODULE(_core, module) {
  using namespace rueda;
  module.attr("version") = RUEDA_VERSION;
  BindConfig(module);
  BindShortcut(module);

  py::class_<PeerName>(module, "PeerName").def(py::init<std::string, int64_t>());
  py::class_<Topology>(module, "Topology")
      .def(py::init([](int rank, int size, int local_rank, int local_size, int cross_rank,
                       int cross_size, std::vector<PeerName> peers) {
             return Topology{rank,       size,       local_rank,      local_size,
                             cross_rank, cross_size, std::move(peers)};
           }),
           py::kw_only(), py::arg("rank"), py::arg("size"), py::arg("local_rank"),
           py::arg("local_size"), py::arg("cross_rank"), py::arg("cross_size"), py::arg("peers"));

  module.def("create_arena", [](const Config& config, int size) {
    return ValueOrThrow(engine::CreateArena(config, size)).release();
  });

  py::class_<engine::Engine, SharedEngine>(module, "Engine")
      .def_static("start", &Start, py::kw_only(), py::arg("topology"), py::arg("config"),
                  py::arg("arena_fds"), py::arg("pidfds"), py::arg("stream_fds"),
                  py::arg("control_fds"))
      .def("stop", &engine::Engine::Stop, py::arg("reason") = "", py::call_guard<NoGil>())
      .def("start_timeline",
           [](engine::Engine& engine, const std::string& path, bool mark_frames) {
             ThrowUnlessOk(WithoutGil([&] { return engine.StartTimeline(path, mark_frames); }));
           })
      .def("stop_timeline",
           [](engine::Engine& engine) {
             ThrowUnlessOk(WithoutGil([&] { return engine.StopTimeline(); }));
           })
      .def("abandon_in_forked_child", &engine::Engine::AbandonInForkedChild)
      .def("capsule", &CapsuleOf)
      .def_property_readonly("backend", &engine::Engine::backend_name);
}
