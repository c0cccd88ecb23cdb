// Operations of the Python module rueda._torch: collectives on tensors, and their handles.
#include <cstdint>
#include <utility>
#include <vector>

#include "control/process_sets.h"
#include "torch/module_fast_methods.h"
#include "torch/module_operations.h"
#include "torch/module_parts.h"

namespace rueda::pytorch {
namespace {

// tensor, output, name, op, and perhaps prescale, postscale, process_set.
OperationCall CallIn(Arguments arguments) {
  OperationCall call;
  call.inputs.push_back(TensorIn(arguments[0]));
  call.in_place = arguments[1] == arguments[0];
  if (!call.in_place && arguments[1] != Py_None) call.outputs.push_back(TensorIn(arguments[1]));
  call.name = NameIn(arguments[2]);
  call.op = ReduceOpFrom(IntegerIn<int>(arguments[3]));
  if (arguments.size() > 4) call.prescale = FloatIn(arguments[4]);
  if (arguments.size() > 5) call.postscale = FloatIn(arguments[5]);
  if (arguments.size() > 6) call.process_set = IntegerIn<uint32_t>(arguments[6]);
  return call;
}

py::object Allreduce(PyOperations& operations, Arguments arguments) {
  OperationCall call = CallIn(arguments);
  if (arguments.size() > 7) call.priority = IntegerIn<int32_t>(arguments[7]);
  return py::int_(operations.Start(std::move(call)));
}

// A synchronous call, in one crossing.
py::object AllreduceNow(PyOperations& operations, Arguments arguments) {
  OperationCall call = CallIn(arguments);
  call.urgent = true;
  return operations.Wait(operations.Start(std::move(call)));
}

py::object Wait(PyOperations& operations, Arguments arguments) {
  return operations.Wait(IntegerIn<int64_t>(arguments[0]));
}

}  // namespace

void BindOperations(py::module_& module) {
  py::class_<PyOperations> type(module, "Operations");
  type.def(py::init<const py::capsule&, int64_t>(), py::arg("engine"), py::arg("first_handle") = 0)
      .def("submit", &PyOperations::Submit, py::arg("kind"), py::arg("tensors"), py::arg("outputs"),
           py::arg("name"), py::kw_only(), py::arg("op") = static_cast<int>(ReduceOp::kSum),
           py::arg("root") = -1, py::arg("prescale") = 1.0, py::arg("postscale") = 1.0,
           py::arg("process_set") = 0, py::arg("parts") = std::vector<int64_t>{},
           py::arg("with_splits") = false, py::arg("grouped") = false, py::arg("urgent") = false,
           py::arg("priority") = 0)
      .def("poll", &PyOperations::Poll, py::arg("handle"))
      .def("next_call", &PyOperations::NextCall, py::arg("operation"), py::arg("process_set"))
      .def("joins", &PyOperations::Joins, py::arg("process_set"))
      .def("drop_finished", &PyOperations::DropFinished)
      .def_property_readonly("next_handle", &PyOperations::next_handle)
      .def("__len__", &PyOperations::size);
  AddFastMethod<PyOperations, Allreduce, 4, 8>(type, "allreduce");
  AddFastMethod<PyOperations, AllreduceNow, 4, 7>(type, "allreduce_now");
  AddFastMethod<PyOperations, Wait, 1, 1>(type, "wait");
  module.attr("ALLREDUCE") = static_cast<int>(OpKind::kAllreduce);
  module.attr("ALLGATHER") = static_cast<int>(OpKind::kAllgather);
  module.attr("BROADCAST") = static_cast<int>(OpKind::kBroadcast);
  module.attr("BARRIER") = static_cast<int>(OpKind::kBarrier);
  module.attr("REDUCESCATTER") = static_cast<int>(OpKind::kReducescatter);
  module.attr("ALLTOALL") = static_cast<int>(OpKind::kAlltoall);
  module.attr("REDUCE") = static_cast<int>(OpKind::kReduce);
  module.attr("GATHER") = static_cast<int>(OpKind::kGather);
  module.attr("SCATTER") = static_cast<int>(OpKind::kScatter);
  module.attr("JOIN") = static_cast<int>(OpKind::kJoin);
  module.attr("ADD_PROCESS_SET") = static_cast<int>(OpKind::kAddProcessSet);
  module.attr("REMOVE_PROCESS_SET") = static_cast<int>(OpKind::kRemoveProcessSet);
  module.def("pair_of", &control::PairOf, py::arg("a"), py::arg("b"));
}

}  // namespace rueda::pytorch
