// Writer and Reader: bounded little-endian bytes, from which every control message is made.
//
// Values, one thread at a time. A Reader trusts no length: each is checked against what remains
// before anything is allocated. Its first failure sticks; from then on it reads zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"

namespace rueda::control {

class Writer {
 public:
  // Writes into the memory of `reuse`, whatever it holds.
  explicit Writer(std::vector<uint8_t> reuse = {}) : bytes_(std::move(reuse)) { bytes_.clear(); }
  void Reserve(size_t bytes) { bytes_.reserve(bytes); }
  void U8(uint8_t value) { bytes_.push_back(value); }
  void U32(uint32_t value);
  void U64(uint64_t value);
  void I32(int32_t value) { U32(static_cast<uint32_t>(value)); }
  void I64(int64_t value) { U64(static_cast<uint64_t>(value)); }
  // The bits of the double, so that every not-a-number arrives as it left.
  void F64(double value);
  void Bytes(std::span<const uint8_t> bytes);
  // The low bytes of a number, the lowest first.
  void Low(uint64_t value, size_t bytes);
  // A u32 length and the bytes.
  void String(std::string_view text);
  // A u32 count and the values.
  void I64s(std::span<const int64_t> values);

  std::vector<uint8_t> Take() { return std::move(bytes_); }

 private:
  std::vector<uint8_t> bytes_;
};

class Reader {
 public:
  Reader(const uint8_t* data, size_t bytes) : rest_(data, bytes) {}

  uint8_t U8();
  uint32_t U32();
  uint64_t U64();
  int32_t I32() { return static_cast<int32_t>(U32()); }
  int64_t I64() { return static_cast<int64_t>(U64()); }
  double F64();
  std::span<const uint8_t> Bytes(size_t count);
  // The number of at most 8 bytes, the lowest first.
  static uint64_t Low(std::span<const uint8_t> bytes);
  std::string String(size_t most_bytes);
  // At most `most` values, each at least `least`.
  std::vector<int64_t> I64s(int64_t least, size_t most = SIZE_MAX);
  // A u32 count of items of which each takes at least `item_bytes`, at most `most`.
  uint32_t Count(size_t most, size_t item_bytes);

  void Fail(std::string_view why);
  // Fails unless `condition` holds.
  void Require(bool condition, std::string_view why) {
    if (!condition) Fail(why);
  }
  bool ok() const { return failure_.empty(); }
  size_t remaining() const { return rest_.size(); }
  std::span<const uint8_t> rest() const { return rest_; }

  // Ok if nothing failed and nothing is left; else kCorrupt, naming `what` was read.
  Status Finish(std::string_view what);

 private:
  std::span<const uint8_t> rest_;
  std::string failure_;
};

}  // namespace rueda::control
