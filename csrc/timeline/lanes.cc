#include "timeline/lanes.h"

#include <algorithm>
#include <limits>

namespace rueda::timeline {
namespace {

constexpr int64_t kNeverUsed = std::numeric_limits<int64_t>::min();

}  // namespace

void Lanes::Grow() {
  std::vector<int64_t> ends(ends_.begin() + static_cast<std::ptrdiff_t>(leaves_), ends_.end());
  leaves_ = std::max<size_t>(2 * leaves_, 8);
  ends.resize(leaves_, kNeverUsed);
  ends_.assign(leaves_, kNeverUsed);
  ends_.insert(ends_.end(), ends.begin(), ends.end());
  for (size_t i = leaves_ - 1; i > 0; --i) ends_[i] = std::min(ends_[2 * i], ends_[2 * i + 1]);
}

size_t Lanes::Take(int64_t begun, int64_t done) {
  if (leaves_ == 0 || ends_[1] > begun) Grow();
  size_t node = 1;
  while (node < leaves_) node = ends_[2 * node] <= begun ? 2 * node : 2 * node + 1;
  const size_t lane = node - leaves_;
  ends_[node] = done;
  for (node /= 2; node > 0; node /= 2) ends_[node] = std::min(ends_[2 * node], ends_[2 * node + 1]);
  open_ = std::max(open_, lane + 1);
  return lane;
}

}  // namespace rueda::timeline
