#include "engine/aside.h"

#include <algorithm>
#include <string>

namespace rueda::engine {

std::vector<uint8_t> EncodeAside(const Aside& aside) {
  std::vector<uint8_t> payload(1 + aside.body.size());
  payload.front() = static_cast<uint8_t>(aside.topic);
  std::copy(aside.body.begin(), aside.body.end(), payload.begin() + 1);
  return payload;
}

Result<Aside> DecodeAside(std::span<const uint8_t> payload, int from) {
  if (payload.empty() || payload.size() > 1 + kMaxAsideBytes) {
    return Status(StatusCode::kCorrupt,
                  "an aside of " + std::to_string(payload.size()) + " bytes came");
  }
  const auto topic = static_cast<AsideTopic>(payload.front());
  if (topic != AsideTopic::kStall && topic != AsideTopic::kTimeline) {
    return Status(StatusCode::kCorrupt,
                  "an aside of unknown topic " + std::to_string(payload.front()) + " came");
  }
  return Aside{topic, from, {payload.begin() + 1, payload.end()}};
}

}  // namespace rueda::engine
