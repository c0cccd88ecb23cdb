// What a rank's memory for a bucket must be, and copies of it that an abort can end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

#include "backends/gloo/plugin/peer_links.h"
#include "collectives/piece_cursor.h"
#include "core/status.h"
#include "core/types.h"

namespace rueda::backends {

// Small enough to stay in the cache between two passes and to notice an abort within a millisecond;
// a multiple of every element size.
inline constexpr int64_t kChunkBytes = 262144;

int64_t BytesOf(std::span<const TensorView> pieces);

// kInvalidArgument if the pieces do not hold exactly so many bytes; `what` names them: "inputs".
Status CheckBytes(std::string_view what, std::span<const TensorView> pieces, int64_t expected);

// Visits the pieces in chunks of whole elements: visit(at, offset of the first byte, bytes). Ends
// between two chunks with the reason of an abort.
template <typename Visit>
Status ForEachChunk(const PeerLinks& links, std::span<const TensorView> pieces, Visit&& visit) {
  collectives::PieceCursor cursor(pieces);
  int64_t offset = 0;
  for (int64_t left = BytesOf(pieces); left > 0; left -= kChunkBytes) {
    RUEDA_RETURN_IF_ERROR(links.aborted());
    cursor.Next(std::min(left, kChunkBytes), [&](uint8_t* at, size_t bytes) {
      visit(at, offset, static_cast<int64_t>(bytes));
      offset += static_cast<int64_t>(bytes);
    });
  }
  return Status::Ok();
}

// From pieces into one row, and back. What lies where it should already is left alone.
Status CopyToRow(const PeerLinks& links, std::span<const TensorView> pieces, uint8_t* row);
Status CopyFromRow(const PeerLinks& links, const uint8_t* row, std::span<const TensorView> pieces);

}  // namespace rueda::backends
