// GradientReducer of the Python module rueda._torch: a model's gradients, reduced during backward.
#include <string>
#include <utility>
#include <vector>

#include "bindings/no_gil.h"
#include "torch/gradient_reducer.h"
#include "torch/module_parts.h"

namespace rueda::pytorch {
namespace {

// See parameter_hook.h: Python's dictionary of hooks has to be there before ours.
PythonHooks EnsureHookDictionary(const at::Tensor& parameter) {
  const py::object object = py::cast(parameter);
  if (HookSlotOf(parameter) == HookSlot::kEmpty) {
    object.attr("_post_accumulate_grad_hooks") =
        py::module_::import("collections").attr("OrderedDict")();
  }
  if (HookSlotOf(parameter) != HookSlot::kPythonDictionary) return {};
  const py::object hooks = object.attr("_post_accumulate_grad_hooks");
  if (!PyDict_Check(hooks.ptr())) return {};
  // The hook in the slot owns the dictionary, so the word lives as long as the hook.
  return {&reinterpret_cast<PyDictObject*>(hooks.ptr())->ma_used};
}

Compression CompressionFrom(const std::string& name) {
  if (name == "none") return Compression::kNone;
  if (name == "fp16") return Compression::kFloat16;
  if (name == "bf16") return Compression::kBFloat16;
  throw py::value_error("compression '" + name + "' is not known; there are none, fp16 and bf16");
}

class PyReducer {
 public:
  PyReducer(const py::capsule& engine, std::vector<at::Tensor> parameters,
            std::vector<std::string> names, std::string name, int op, double prescale,
            double postscale, const std::string& compression, int passes_per_step,
            int64_t bucket_bytes, int64_t first_bucket_bytes, uint32_t process_set,
            std::vector<std::vector<size_t>> groups, bool sparse_as_dense,
            std::vector<size_t> apart, bool first_needed_first, std::pair<int, int> learns_as,
            bool keeps_sizes)
      : engine_(EngineFrom(engine)) {
    if (names.size() != parameters.size()) {
      throw py::value_error(std::to_string(parameters.size()) + " parameters have " +
                            std::to_string(names.size()) + " names");
    }
    std::vector<NamedParameter> named;
    for (size_t i = 0; i < names.size(); ++i) {
      named.push_back({std::move(names[i]), std::move(parameters[i])});
    }
    ReducerOptions options;
    options.name = std::move(name);
    options.op = ReduceOpFrom(op);
    options.prescale = prescale;
    options.postscale = postscale;
    options.process_set = process_set;
    options.compression = CompressionFrom(compression);
    options.passes_per_step = passes_per_step;
    options.limits = {first_bucket_bytes, bucket_bytes};
    options.groups = std::move(groups);
    options.sparse_as_dense = sparse_as_dense;
    options.apart = std::move(apart);
    options.first_needed_first = first_needed_first;
    options.learning = {learns_as.first, learns_as.second, keeps_sizes};
    auto reducer = GradientReducer::Make(engine_, std::move(named), std::move(options));
    if (!reducer.ok()) Raise(reducer.status());
    reducer_ = *reducer;
    reducer_->Attach(EnsureHookDictionary);
  }

  ~PyReducer() {
    // Here, and not when the last hook that runs lets go of the reducer.
    if (reducer_ != nullptr) reducer_->Detach();
    reducer_.reset();
    Release(std::move(engine_));
  }

  void Submit() {
    RaiseUnlessOk(WithoutGil([&] { return reducer_->SubmitAll(); }));
  }
  void Synchronize() {
    Submit();
    Finish();
  }

  std::vector<std::vector<size_t>> Members() const { return reducer_->Members(); }
  void Deliver(size_t bucket) {
    WaitInterruptibly(*engine_, reducer_->PendingIn(bucket));
    RaiseUnlessOk(WithoutGil([&] { return reducer_->Deliver(bucket); }));
  }

  void Finish() {
    while (const engine::TicketPtr ticket = reducer_->Pending()) {
      WaitInterruptibly(*engine_, ticket);
    }
    const auto outcome = WithoutGil([&] { return reducer_->Finish(); });
    RaiseUnlessOk(outcome.status);
    if (outcome.extra_passes.empty()) return;
    const std::string message =
        "parameter '" + outcome.extra_passes +
        "': more backward passes than backward_passes_per_step went into its gradient before "
        "step() or synchronize(), so this step's gradients are wrong";
    PyErr_SetString(PyExc_AssertionError, message.c_str());
    throw py::error_already_set();
  }

  bool Pending() const { return reducer_->busy(); }
  void Remove() { reducer_->Detach(); }
  void SetApart(const std::vector<size_t>& indices) { RaiseUnlessOk(reducer_->SetApart(indices)); }
  void SetPasses(int passes) { RaiseUnlessOk(reducer_->SetPassesPerStep(passes)); }
  GradientReducer::Statistics statistics() const { return reducer_->statistics(); }

 private:
  SharedEngine engine_;
  std::shared_ptr<GradientReducer> reducer_;
};

}  // namespace

void BindReducer(py::module_& module) {
  const ReducerOptions defaults;
  py::class_<PyReducer>(module, "GradientReducer")
      .def(py::init<const py::capsule&, std::vector<at::Tensor>, std::vector<std::string>,
                    std::string, int, double, double, const std::string&, int, int64_t, int64_t,
                    uint32_t, std::vector<std::vector<size_t>>, bool, std::vector<size_t>, bool,
                    std::pair<int, int>, bool>(),
           py::arg("engine"), py::arg("parameters"), py::arg("names"), py::kw_only(),
           py::arg("name") = defaults.name, py::arg("op") = static_cast<int>(defaults.op),
           py::arg("prescale") = 1.0, py::arg("postscale") = 1.0, py::arg("compression") = "none",
           py::arg("backward_passes_per_step") = 1, py::arg("bucket_bytes") = defaults.limits.bytes,
           py::arg("first_bucket_bytes") = defaults.limits.first_bytes, py::arg("process_set") = 0,
           py::arg("groups") = defaults.groups, py::arg("sparse_as_dense") = false,
           py::arg("apart") = defaults.apart, py::arg("first_needed_first") = false,
           py::arg("learns_as") = std::pair(0, 0), py::arg("keeps_sizes") = false)
      .def("synchronize", &PyReducer::Synchronize)
      .def("submit", &PyReducer::Submit)
      .def("members", &PyReducer::Members)
      .def("deliver", &PyReducer::Deliver, py::arg("bucket"))
      .def("finish", &PyReducer::Finish)
      .def("set_apart", &PyReducer::SetApart, py::arg("indices"))
      .def("pending", &PyReducer::Pending)
      .def("remove", &PyReducer::Remove)
      .def("set_backward_passes_per_step", &PyReducer::SetPasses, py::arg("passes"))
      .def_property_readonly("bucket_count",
                             [](const PyReducer& self) { return self.statistics().buckets; })
      .def_property_readonly("placed_bucket_count",
                             [](const PyReducer& self) { return self.statistics().placed_buckets; })
      .def_property_readonly("gradient_bytes",
                             [](const PyReducer& self) { return self.statistics().bytes; })
      .def_property_readonly("copies_in",
                             [](const PyReducer& self) { return self.statistics().copies_in; })
      .def_property_readonly("learned",
                             [](const PyReducer& self) { return self.statistics().learned; });
}

}  // namespace rueda::pytorch
