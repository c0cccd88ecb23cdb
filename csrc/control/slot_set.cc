#include "control/slot_set.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "control/messages.h"

namespace rueda::control {
namespace {

constexpr uint8_t kList = 0;
constexpr uint8_t kBits = 1;

bool Ascends(const std::vector<uint32_t>& slots) {
  return std::adjacent_find(slots.begin(), slots.end(), std::greater_equal<>()) == slots.end();
}

// Bytes from the first slot's bit to the last one's.
size_t BitBytes(const std::vector<uint32_t>& slots) {
  return (slots.back() - slots.front()) / 8 + size_t{1};
}

// Both forms begin with a u8 and a u32; the bits have one more u32.
bool BitsAreShorter(const std::vector<uint32_t>& slots) {
  return !slots.empty() && Ascends(slots) &&
         sizeof(uint32_t) + BitBytes(slots) < sizeof(uint32_t) * slots.size();
}

std::vector<uint32_t> ReadList(Reader& reader) {
  const uint32_t count = reader.Count(kMaxSlots, sizeof(uint32_t));
  std::vector<uint32_t> slots;
  slots.reserve(count);
  for (uint32_t i = 0; i < count; ++i) slots.push_back(reader.U32());
  reader.Require(Ascends(slots), "slots do not ascend");
  reader.Require(slots.empty() || slots.back() < kMaxSlots, "a slot is too large");
  return slots;
}

std::vector<uint32_t> ReadBits(Reader& reader) {
  const uint32_t first = reader.U32();
  const std::span<const uint8_t> bits = reader.Bytes(reader.Count(kMaxSlots / 8, 1));
  reader.Require(first < kMaxSlots && !bits.empty() && (bits.front() & 1U) != 0 && bits.back() != 0,
                 "a slot set is not as it should be written");
  std::vector<uint32_t> slots;
  if (!reader.ok()) return slots;
  for (size_t i = 0; i < bits.size(); ++i) {
    for (uint32_t byte = bits[i]; byte != 0; byte &= byte - 1) {
      slots.push_back(first + static_cast<uint32_t>(8 * i) +
                      static_cast<uint32_t>(std::countr_zero(byte)));
    }
  }
  reader.Require(slots.back() < kMaxSlots, "a slot is too large");
  return slots;
}

}  // namespace

void WriteSlots(Writer& writer, const std::vector<uint32_t>& slots) {
  if (!BitsAreShorter(slots)) {
    writer.U8(kList);
    writer.U32(static_cast<uint32_t>(slots.size()));
    for (const uint32_t slot : slots) writer.U32(slot);
    return;
  }
  std::vector<uint8_t> bits(BitBytes(slots));
  for (const uint32_t slot : slots) {
    const uint32_t bit = slot - slots.front();
    bits[bit / 8] = static_cast<uint8_t>(bits[bit / 8] | (1U << (bit % 8)));
  }
  writer.U8(kBits);
  writer.U32(slots.front());
  writer.U32(static_cast<uint32_t>(bits.size()));
  writer.Bytes(bits);
}

std::vector<uint32_t> ReadSlots(Reader& reader) {
  const uint8_t form = reader.U8();
  reader.Require(form <= kBits, "a slot set has an unknown form");
  std::vector<uint32_t> slots = form == kBits ? ReadBits(reader) : ReadList(reader);
  reader.Require(BitsAreShorter(slots) == (form == kBits), "a slot set has the longer form");
  return slots;
}

}  // namespace rueda::control
