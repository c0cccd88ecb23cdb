#include "control/request.h"

#include <algorithm>
#include <bit>
#include <tuple>

#include "control/messages.h"

namespace rueda::control {

int64_t TensorSpec::count() const {
  int64_t elements = 1;
  for (const int64_t dimension : shape) elements *= dimension;
  return elements;
}

bool Request::operator==(const Request& other) const {
  const auto values = [](const Request& r) {
    return std::tuple(r.kind, r.op, r.root, std::bit_cast<uint64_t>(r.prescale),
                      std::bit_cast<uint64_t>(r.postscale), r.process_set, r.transient, r.priority,
                      r.placement);
  };
  return values(*this) == values(other) && name == other.name && tensors == other.tensors &&
         parts == other.parts;
}

bool Batch::operator==(const Batch& other) const {
  return slots == other.slots && leave_reason == other.leave_reason &&
         std::ranges::equal(requests, other.requests, AreEqual);
}

bool Response::operator==(const Response& other) const {
  const auto values = [](const Response& r) {
    return std::tie(r.slot, r.process_set, r.name, r.error, r.only_rank, r.placements, r.first_dims,
                    r.number, r.absent);
  };
  const bool both = request != nullptr && other.request != nullptr;
  return values(*this) == values(other) &&
         (both ? *request == *other.request : request == other.request);
}

std::vector<int64_t> ScatteredRows(int64_t rows, size_t members) {
  const auto n = static_cast<int64_t>(members);
  std::vector<int64_t> parts(members, rows / n);
  for (int64_t i = 0; i < rows % n; ++i) ++parts[static_cast<size_t>(i)];
  return parts;
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
