// BitSet: a growing set of small numbers (ranks, slots), walked in ascending order and combined
// 64 numbers at a time.
//
// A value. Memory grows with the largest number ever inserted and is kept, so a set that is cleared
// and filled again allocates nothing.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "core/status.h"

namespace rueda::control {

class BitSet {
 public:
  using Word = uint64_t;
  static constexpr size_t kWordBits = 64;

  BitSet() = default;
  BitSet(std::initializer_list<uint32_t> numbers) {
    for (const uint32_t number : numbers) Insert(number);
  }

  // True if it was not in the set.
  bool Insert(size_t number) {
    Reach(number / kWordBits + 1);
    Word& word = words_[number / kWordBits];
    const bool fresh = (word & BitOf(number)) == 0;
    word |= BitOf(number);
    count_ += fresh ? 1 : 0;
    return fresh;
  }
  // True if it was in the set.
  bool Remove(size_t number) {
    if (!Contains(number)) return false;
    words_[number / kWordBits] &= ~BitOf(number);
    --count_;
    return true;
  }
  bool Contains(size_t number) const { return (WordAt(number / kWordBits) & BitOf(number)) != 0; }
  // Room for numbers up to this one.
  void Reserve(size_t number) { words_.reserve(number / kWordBits + 1); }
  void Clear() {
    std::fill(words_.begin(), words_.end(), 0);
    count_ = 0;
  }

  size_t count() const { return count_; }
  bool empty() const { return count_ == 0; }
  // Of a set that is not empty.
  size_t Lowest() const {
    size_t at = 0;
    while (words_[at] == 0) ++at;
    return kWordBits * at + static_cast<size_t>(std::countr_zero(words_[at]));
  }
  size_t Highest() const {
    size_t at = words_.size() - 1;
    while (words_[at] == 0) --at;
    return kWordBits * at + static_cast<size_t>(std::bit_width(words_[at])) - 1;
  }

  // Bit `i` of word `w` stands for number 64 w + i. The last words may be 0.
  std::span<const Word> words() const { return words_; }
  Word WordAt(size_t at) const { return at < words_.size() ? words_[at] : 0; }
  void SetWord(size_t at, Word word) {
    // Counting is the expensive part, and most words are the same as before.
    if (word == WordAt(at)) return;
    Reach(at + 1);
    count_ += Ones(word) - Ones(words_[at]);
    words_[at] = word;
  }

  void Unite(const BitSet& other) {
    for (size_t i = 0; i < other.words_.size(); ++i) SetWord(i, WordAt(i) | other.words_[i]);
  }
  void Subtract(const BitSet& other) {
    for (size_t i = 0; i < words_.size(); ++i) SetWord(i, words_[i] & ~other.WordAt(i));
  }
  void Intersect(const BitSet& other) {
    for (size_t i = 0; i < words_.size(); ++i) SetWord(i, words_[i] & other.WordAt(i));
  }
  bool Intersects(const BitSet& other) const {
    for (size_t i = 0; i < words_.size(); ++i) {
      if ((words_[i] & other.WordAt(i)) != 0) return true;
    }
    return false;
  }
  bool IsSubsetOf(const BitSet& other) const {
    for (size_t i = 0; i < words_.size(); ++i) {
      if ((words_[i] & ~other.WordAt(i)) != 0) return false;
    }
    return true;
  }
  bool operator==(const BitSet& other) const {
    const size_t size = std::max(words_.size(), other.words_.size());
    for (size_t i = 0; i < size; ++i) {
      if (WordAt(i) != other.WordAt(i)) return false;
    }
    return true;
  }

  template <typename Function>
  void ForEach(Function function) const {
    for (size_t i = 0; i < words_.size(); ++i) ForEachBit(i, words_[i], function);
  }
  // The numbers that bits of the word at `at` stand for.
  template <typename Function>
  static void ForEachBit(size_t at, Word word, Function function) {
    for (; word != 0; word &= word - 1) {
      function(kWordBits * at + static_cast<size_t>(std::countr_zero(word)));
    }
  }

 private:
  static Word BitOf(size_t number) { return Word{1} << (number % kWordBits); }
  static size_t Ones(Word word) { return static_cast<size_t>(std::popcount(word)); }
  void Reach(size_t words) {
    if (words > words_.size()) words_.resize(words);
  }

  std::vector<Word> words_;
  size_t count_ = 0;
};

// `function` of each number until one is not ok.
template <typename Function>
Status ForAll(const BitSet& numbers, Function function) {
  Status status;
  numbers.ForEach([&](size_t number) {
    if (status.ok()) status = function(number);
  });
  return status;
}

}  // namespace rueda::control
