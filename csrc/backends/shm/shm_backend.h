// The shm backend: all-reduce and its kin between the ranks of one host.
#pragma once

#include <memory>

#include "backends/backend.h"
#include "backends/shm/shm_group.h"

namespace rueda::backends {

std::unique_ptr<Backend> MakeShmBackend(ShmGroup group);

}  // namespace rueda::backends
