#include "transport/rank_state.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace rueda::transport {

Status RankState::failure() const {
  const size_t bytes = std::min<size_t>(text_bytes_, kTextBytes);
  return Status(static_cast<StatusCode>(code_), std::string(text_.data(), bytes)).Blame(blamed_rank_);
}

void RankState::SetFailed(const Status& why) {
  code_ = static_cast<int32_t>(why.code());
  blamed_rank_ = why.blamed_rank();
  text_bytes_ = static_cast<uint32_t>(std::min(why.message().size(), kTextBytes));
  std::memcpy(text_.data(), why.message().data(), text_bytes_);
  phase_.store(static_cast<uint32_t>(Phase::kFailed), std::memory_order_release);
}

}  // namespace rueda::transport
