// BitSet: a growing set of small numbers (ranks, slots) that is walked in ascending order.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace rueda::control {

class BitSet {
 public:
  // Makes room for the numbers below `size`. Never shrinks.
  void Grow(size_t size) { words_.resize(std::max(words_.size(), (size + 63) / 64)); }

  // True if it was not in the set. `number` must be below what Grow was told.
  bool Insert(size_t number) {
    uint64_t& word = words_[number / 64];
    const uint64_t bit = uint64_t{1} << (number % 64);
    const bool fresh = (word & bit) == 0;
    word |= bit;
    count_ += fresh ? 1 : 0;
    return fresh;
  }
  bool Contains(size_t number) const {
    return number / 64 < words_.size() && ((words_[number / 64] >> (number % 64)) & 1U) != 0;
  }
  void Clear() {
    std::fill(words_.begin(), words_.end(), 0);
    count_ = 0;
  }
  size_t count() const { return count_; }

  template <typename Function>
  void ForEach(Function function) const {
    for (size_t i = 0; i < words_.size(); ++i) {
      for (uint64_t word = words_[i]; word != 0; word &= word - 1) {
        function(64 * i + static_cast<size_t>(std::countr_zero(word)));
      }
    }
  }

 private:
  std::vector<uint64_t> words_;
  size_t count_ = 0;
};

}  // namespace rueda::control
