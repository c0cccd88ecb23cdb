#include "collectives/slices.h"

#include <algorithm>

namespace rueda::collectives {

Range SliceOf(int64_t total, int owners, int index, int64_t grain) {
  const int64_t grains = (total + grain - 1) / grain;
  const auto border = [&](int64_t i) { return std::min(total, grains * i / owners * grain); };
  return {border(index), border(index + 1)};
}

}  // namespace rueda::collectives
