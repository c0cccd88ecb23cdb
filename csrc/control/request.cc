#include "control/request.h"

#include <bit>
#include <tuple>

namespace rueda::control {

int64_t TensorSpec::count() const {
  int64_t elements = 1;
  for (const int64_t dimension : shape) elements *= dimension;
  return elements;
}

bool Request::operator==(const Request& other) const {
  const auto values = [](const Request& r) {
    return std::tuple(r.kind, r.op, r.root, std::bit_cast<uint64_t>(r.prescale),
                      std::bit_cast<uint64_t>(r.postscale), r.process_set, r.transient,
                      r.placement);
  };
  return values(*this) == values(other) && name == other.name && tensors == other.tensors;
}

Layout LayoutOf(const std::vector<TensorSpec>& tensors) {
  Layout layout;
  layout.offsets.reserve(tensors.size());
  for (const TensorSpec& tensor : tensors) {
    layout.offsets.push_back(layout.bytes);
    const int64_t lines =
        (static_cast<int64_t>(tensor.bytes()) + kLayoutAlignment - 1) / kLayoutAlignment;
    layout.bytes += lines * kLayoutAlignment;
  }
  return layout;
}

}  // namespace rueda::control
