#include "control/request_memo.h"

#include <algorithm>
#include <memory>

#include "control/request_codec.h"

namespace rueda::control {
namespace {

bool StartsWith(std::span<const uint8_t> bytes, std::span<const uint8_t> start) {
  return bytes.size() >= start.size() && std::ranges::equal(bytes.first(start.size()), start);
}

}  // namespace

void RequestMemo::Read(Reader& reader, uint32_t count, std::vector<SharedRequest>* requests) {
  for (size_t i = 0; i < count && reader.ok(); ++i) {
    const std::span<const uint8_t> rest = reader.rest();
    // A request tells its own length, so bytes that begin like it are it.
    if (i < known_.size() && StartsWith(rest, known_[i].bytes)) {
      reader.Bytes(known_[i].bytes.size());
      requests->push_back(known_[i].request);
      continue;
    }
    requests->push_back(std::make_shared<const Request>(ReadRequest(reader)));
    if (reader.ok()) {
      Remember(i, rest.first(rest.size() - reader.remaining()), requests->back());
    }
  }
}

void RequestMemo::Remember(size_t at, std::span<const uint8_t> bytes,
                           const SharedRequest& request) {
  const bool replaces = at < known_.size();
  const size_t freed = replaces ? known_[at].bytes.size() : 0;
  if (at > known_.size() || bytes_ - freed + bytes.size() > kMostBytes) return;
  if (!replaces) known_.emplace_back();
  known_[at].bytes.assign(bytes.begin(), bytes.end());
  known_[at].request = request;
  bytes_ += bytes.size() - freed;
}

}  // namespace rueda::control
