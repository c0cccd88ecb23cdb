#include "transport/rank_state.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace rueda::transport {
namespace {

// Bytes of `text` within the limit that cut no UTF-8 sequence: Python must be able to decode it.
size_t LongestStart(const std::string& text, size_t limit) {
  if (text.size() <= limit) return text.size();
  while (limit > 0 && (static_cast<uint8_t>(text[limit]) & 0xC0) == 0x80) --limit;
  return limit;
}

}  // namespace

Status RankState::failure() const {
  const size_t bytes = std::min<size_t>(text_bytes_, kTextBytes);
  return Status(static_cast<StatusCode>(code_), std::string(text_.data(), bytes))
      .Blame(blamed_rank_);
}

void RankState::SetFailed(const Status& why) {
  code_ = static_cast<int32_t>(why.code());
  blamed_rank_ = why.blamed_rank();
  text_bytes_ = static_cast<uint32_t>(LongestStart(why.message(), kTextBytes));
  std::memcpy(text_.data(), why.message().data(), text_bytes_);
  phase_.store(static_cast<uint32_t>(Phase::kFailed), std::memory_order_release);
}

}  // namespace rueda::transport
