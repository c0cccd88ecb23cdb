// The simulated control plane for Python, as part of module _bench_core.
#pragma once

#include <pybind11/pybind11.h>

namespace rueda::bench {

void BindControlSimulation(pybind11::module_& module);

}  // namespace rueda::bench
