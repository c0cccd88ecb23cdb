// PieceCursor: walks over the pieces of a bucket as if they were one row of bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "core/types.h"

namespace rueda::collectives {

class PieceCursor {
 public:
  PieceCursor() = default;
  explicit PieceCursor(std::span<const TensorView> pieces) : pieces_(pieces) {}

  // Calls visit(uint8_t* at, size_t bytes) for each contiguous part of the next `bytes` bytes.
  // Parts hold whole elements if all earlier calls took whole elements.
  template <typename Visit>
  void Next(int64_t bytes, Visit&& visit) {
    while (bytes > 0 && piece_ < pieces_.size()) {
      const TensorView& piece = pieces_[piece_];
      const int64_t left = static_cast<int64_t>(piece.bytes()) - offset_;
      const int64_t part = std::min(left, bytes);
      if (part > 0) visit(static_cast<uint8_t*>(piece.data) + offset_, static_cast<size_t>(part));
      offset_ += part;
      bytes -= part;
      if (part == left) {
        ++piece_;
        offset_ = 0;
      }
    }
  }

 private:
  std::span<const TensorView> pieces_;
  size_t piece_ = 0;
  int64_t offset_ = 0;
};

}  // namespace rueda::collectives
