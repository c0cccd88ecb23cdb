#include "control/slot_set.h"

#include <bit>

#include "control/messages.h"

namespace rueda::control {
namespace {

constexpr uint8_t kList = 0;
constexpr uint8_t kBits = 1;
constexpr size_t kWordBytes = sizeof(BitSet::Word);

// Bytes from the first slot's bit to the last one's.
size_t BitBytes(const BitSet& slots) { return (slots.Highest() - slots.Lowest()) / 8 + 1; }

// Both forms begin with a u8 and a u32; the bits have one more u32.
bool BitsAreShorter(const BitSet& slots) {
  return !slots.empty() && sizeof(uint32_t) + BitBytes(slots) < sizeof(uint32_t) * slots.count();
}

// The 64 bits from number `first` on.
BitSet::Word WordFrom(const BitSet& slots, size_t first) {
  const size_t at = first / BitSet::kWordBits;
  const size_t shift = first % BitSet::kWordBits;
  if (shift == 0) return slots.WordAt(at);
  return slots.WordAt(at) >> shift | slots.WordAt(at + 1) << (BitSet::kWordBits - shift);
}

void WriteBits(Writer& writer, const BitSet& slots) {
  const size_t first = slots.Lowest();
  const size_t bytes = BitBytes(slots);
  writer.U32(static_cast<uint32_t>(first));
  writer.U32(static_cast<uint32_t>(bytes));
  for (size_t at = 0; at < bytes; at += kWordBytes) {
    writer.Low(WordFrom(slots, first + 8 * at), std::min(kWordBytes, bytes - at));
  }
}

void ReadList(Reader& reader, BitSet* slots) {
  const uint32_t count = reader.Count(kMaxSlots, sizeof(uint32_t));
  for (uint32_t i = 0; i < count && reader.ok(); ++i) {
    const uint32_t slot = reader.U32();
    reader.Require(slots->empty() || slots->Highest() < slot, "slots do not ascend");
    reader.Require(slot < kMaxSlots, "a slot is too large");
    if (reader.ok()) slots->Insert(slot);
  }
}

void ReadBits(Reader& reader, BitSet* slots) {
  const uint32_t first = reader.U32();
  const std::span<const uint8_t> bits = reader.Bytes(reader.Count(kMaxSlots / 8, 1));
  reader.Require(first < kMaxSlots && !bits.empty() && (bits.front() & 1U) != 0 && bits.back() != 0,
                 "a slot set is not as it should be written");
  if (!reader.ok()) return;
  const size_t last =
      first + 8 * (bits.size() - 1) + static_cast<size_t>(std::bit_width(bits.back())) - 1;
  reader.Require(last < kMaxSlots, "a slot is too large");
  if (!reader.ok()) return;
  slots->Reserve(last);
  const size_t shift = first % BitSet::kWordBits;
  BitSet::Word carried = 0;  // what the last word had no room for
  size_t at = first / BitSet::kWordBits;
  for (size_t byte = 0; byte < bits.size(); byte += kWordBytes, ++at) {
    const size_t bytes = std::min(kWordBytes, bits.size() - byte);
    const BitSet::Word word = Reader::Low(bits.subspan(byte, bytes));
    slots->SetWord(at, carried | word << shift);
    carried = shift == 0 ? 0 : word >> (BitSet::kWordBits - shift);
  }
  slots->SetWord(at, carried);
}

}  // namespace

void WriteSlots(Writer& writer, const BitSet& slots) {
  if (BitsAreShorter(slots)) {
    writer.U8(kBits);
    return WriteBits(writer, slots);
  }
  writer.U8(kList);
  writer.U32(static_cast<uint32_t>(slots.count()));
  slots.ForEach([&](size_t slot) { writer.U32(static_cast<uint32_t>(slot)); });
}

void ReadSlots(Reader& reader, BitSet* slots) {
  const uint8_t form = reader.U8();
  reader.Require(form <= kBits, "a slot set has an unknown form");
  form == kBits ? ReadBits(reader, slots) : ReadList(reader, slots);
  if (!reader.ok()) return;
  reader.Require(BitsAreShorter(*slots) == (form == kBits), "a slot set has the longer form");
}

}  // namespace rueda::control
