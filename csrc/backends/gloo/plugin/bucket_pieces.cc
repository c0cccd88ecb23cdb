#include "backends/gloo/plugin/bucket_pieces.h"

#include <cstring>
#include <numeric>
#include <string>

namespace rueda::backends {

int64_t BytesOf(std::span<const TensorView> pieces) {
  return std::accumulate(pieces.begin(), pieces.end(), int64_t{0},
                         [](int64_t sum, const TensorView& piece) {
                           return sum + static_cast<int64_t>(piece.bytes());
                         });
}

Status CheckBytes(std::string_view what, std::span<const TensorView> pieces, int64_t expected) {
  if (BytesOf(pieces) == expected) return Status::Ok();
  return {StatusCode::kInvalidArgument, "the " + std::string(what) + " hold " +
                                            std::to_string(BytesOf(pieces)) +
                                            " bytes, the bucket has " + std::to_string(expected)};
}

Status CopyToRow(const PeerLinks& links, std::span<const TensorView> pieces, uint8_t* row) {
  int64_t copied = 0;
  const CopyWatch watch(links.copies(), CopyWay::kIn, &copied);
  return ForEachChunk(links, pieces, [&](const uint8_t* at, int64_t offset, int64_t bytes) {
    if (row + offset == at) return;
    std::memcpy(row + offset, at, static_cast<size_t>(bytes));
    copied += bytes;
  });
}

Status CopyFromRow(const PeerLinks& links, const uint8_t* row, std::span<const TensorView> pieces) {
  int64_t copied = 0;
  const CopyWatch watch(links.copies(), CopyWay::kOut, &copied);
  return ForEachChunk(links, pieces, [&](uint8_t* at, int64_t offset, int64_t bytes) {
    if (row + offset == at) return;
    std::memcpy(at, row + offset, static_cast<size_t>(bytes));
    copied += bytes;
  });
}

}  // namespace rueda::backends
