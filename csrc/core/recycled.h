// Recycled<T>: a row of values that is filled and emptied again and again. What they own stays
// allocated: a steady state allocates nothing.
#pragma once

#include <cstddef>
#include <vector>

namespace rueda {

// T::Clear() makes a value as good as new, but for the memory that it keeps.
template <typename T>
class Recycled {
 public:
  // One more at the end, as good as new. Earlier ones may move.
  T& Add() {
    if (size_ == values_.size()) values_.emplace_back();
    return values_[size_++];
  }
  // The first one whose member has this value; if there is none, one more that has it.
  template <typename Value>
  T& FindOrAdd(Value T::*member, const Value& value) {
    for (T& known : *this) {
      if (known.*member == value) return known;
    }
    T& added = Add();
    added.*member = value;
    return added;
  }
  void Clear() {
    for (T& value : *this) value.Clear();
    size_ = 0;
  }

  size_t size() const { return size_; }
  T* begin() { return values_.data(); }
  T* end() { return begin() + size_; }
  const T* begin() const { return values_.data(); }
  const T* end() const { return begin() + size_; }

 private:
  std::vector<T> values_;
  size_t size_ = 0;  // those after them are spare
};

}  // namespace rueda
