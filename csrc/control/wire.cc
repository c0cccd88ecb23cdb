#include "control/wire.h"

#include <bit>
#include <cstring>

namespace rueda::control {
namespace {

template <typename Integer>
void Append(std::vector<uint8_t>& bytes, Integer value) {
  uint8_t little[sizeof(Integer)];
  for (size_t i = 0; i < sizeof(Integer); ++i) {
    little[i] = static_cast<uint8_t>(value >> (8 * i));
  }
  bytes.insert(bytes.end(), little, little + sizeof little);
}

template <typename Integer>
Integer Little(std::span<const uint8_t> bytes) {
  Integer value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    value |= static_cast<Integer>(Integer{bytes[i]} << (8 * i));
  }
  return value;
}

}  // namespace

void Writer::U32(uint32_t value) { Append(bytes_, value); }
void Writer::U64(uint64_t value) { Append(bytes_, value); }
void Writer::F64(double value) { U64(std::bit_cast<uint64_t>(value)); }

void Writer::Bytes(std::span<const uint8_t> bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

void Writer::Low(uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) U8(static_cast<uint8_t>(value >> (8 * i)));
}

void Writer::String(std::string_view text) {
  U32(static_cast<uint32_t>(text.size()));
  bytes_.insert(bytes_.end(), text.begin(), text.end());
}

void Writer::I64s(std::span<const int64_t> values) {
  U32(static_cast<uint32_t>(values.size()));
  for (const int64_t value : values) I64(value);
}

uint8_t Reader::U8() { return Little<uint8_t>(Bytes(1)); }
uint32_t Reader::U32() { return Little<uint32_t>(Bytes(4)); }
uint64_t Reader::U64() { return Little<uint64_t>(Bytes(8)); }
uint64_t Reader::Low(std::span<const uint8_t> bytes) { return Little<uint64_t>(bytes); }
double Reader::F64() { return std::bit_cast<double>(U64()); }

std::span<const uint8_t> Reader::Bytes(size_t count) {
  if (count > rest_.size()) {
    Fail("it ends too early");
    return {};
  }
  const std::span<const uint8_t> taken = rest_.first(count);
  rest_ = rest_.subspan(count);
  return taken;
}

std::string Reader::String(size_t most_bytes) {
  const std::span<const uint8_t> bytes = Bytes(Count(most_bytes, 1));
  return {bytes.begin(), bytes.end()};
}

std::vector<int64_t> Reader::I64s(int64_t least, size_t most) {
  const uint32_t count = Count(most, sizeof(int64_t));
  std::vector<int64_t> values;
  values.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    values.push_back(I64());
    Require(values.back() >= least, "a number is too small");
  }
  return values;
}

uint32_t Reader::Count(size_t most, size_t item_bytes) {
  const uint32_t count = U32();
  if (count <= most && count <= remaining() / item_bytes) return count;
  Fail("a count is too large");
  return 0;
}

void Reader::Fail(std::string_view why) {
  if (failure_.empty()) failure_ = why;
  rest_ = {};
}

Status Reader::Finish(std::string_view what) {
  if (ok() && !rest_.empty()) Fail("bytes follow its end");
  if (ok()) return Status::Ok();
  return {StatusCode::kCorrupt, std::string(what) + " does not parse: " + failure_ +
                                    ". Check that every rank runs the same version of rueda."};
}

}  // namespace rueda::control
