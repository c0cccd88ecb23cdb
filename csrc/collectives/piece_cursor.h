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

  // Passes over the next `bytes` bytes.
  void Skip(int64_t bytes) {
    Next(bytes, [](uint8_t*, size_t) {});
  }

 private:
  std::span<const TensorView> pieces_;
  size_t piece_ = 0;
  int64_t offset_ = 0;
};

// The same for two rows at once: calls visit(uint8_t* first, uint8_t* second, int64_t bytes) for
// each part that is contiguous in both.
template <typename Visit>
void NextOfBoth(PieceCursor* first, PieceCursor* second, int64_t bytes, Visit&& visit) {
  first->Next(bytes, [&](uint8_t* at, size_t part) {
    second->Next(static_cast<int64_t>(part), [&](uint8_t* other, size_t both) {
      visit(at, other, static_cast<int64_t>(both));
      at += both;
    });
  });
}

}  // namespace rueda::collectives
