#include "timeline/chunk.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>
#include <type_traits>

#include "control/wire.h"
#include "control/words.h"

namespace rueda::timeline {
namespace {

constexpr size_t kMaxSpanBytes = kMaxChunkBytes - sizeof(uint32_t);

// By kind of span: the byte that stands for it, and its fields after the name, in the order in
// which they are written and read.
template <typename Span>
struct Layout;

template <>
struct Layout<RequestSpan> {
  static constexpr uint8_t kKind = 1;
  static auto FieldsOf(auto& s) {
    return std::tie(s.kind, s.error, s.process_set, s.tensors, s.bytes, s.frame, s.bucket,
                    s.submitted, s.offered, s.agreed, s.begun, s.done, s.last_rank, s.spread);
  }
};

template <>
struct Layout<BucketSpan> {
  static constexpr uint8_t kKind = 2;
  static auto FieldsOf(auto& s) {
    return std::tie(s.kind, s.dtype, s.in_place, s.absent, s.error, s.process_set, s.tensors,
                    s.bytes, s.frame, s.bucket, s.begun, s.done);
  }
};

template <>
struct Layout<CopySpan> {
  static constexpr uint8_t kKind = 3;
  static auto FieldsOf(auto& s) { return std::tie(s.out, s.bytes, s.begun, s.done); }
};

template <>
struct Layout<WaitSpan> {
  static constexpr uint8_t kKind = 4;
  static auto FieldsOf(auto& s) { return std::tie(s.thread, s.begun, s.done); }
};

template <>
struct Layout<FrameMark> {
  static constexpr uint8_t kKind = 5;
  static auto FieldsOf(auto& s) { return std::tie(s.number, s.responses, s.at); }
};

template <typename Span>
std::string_view NameOf(const Span& span) {
  if constexpr (requires { span.name; }) return control::Clip(span.name, kMaxSpanName);
  return {};
}

// A field as it is written: flags and enumerations take a byte.
template <typename Field>
auto Wired(Field field) {
  if constexpr (std::is_enum_v<Field> || std::is_same_v<Field, bool>) {
    return static_cast<uint8_t>(field);
  } else {
    return field;
  }
}

template <typename Integer>
uint8_t* Store(uint8_t* at, Integer value) {
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(at, &value, sizeof value);
  } else {
    for (size_t i = 0; i < sizeof value; ++i) at[i] = static_cast<uint8_t>(value >> (8 * i));
  }
  return at + sizeof value;
}

void Load(control::Reader& reader, uint32_t* field) { *field = reader.U32(); }
void Load(control::Reader& reader, uint64_t* field) { *field = reader.U64(); }
void Load(control::Reader& reader, int32_t* field) { *field = reader.I32(); }

// Times and bytes. So small that differences of times, and sums with an offset, do not overflow.
void Load(control::Reader& reader, int64_t* field) {
  constexpr int64_t kMost = int64_t{1} << 61;
  const int64_t value = reader.I64();
  reader.Require(value >= 0 && value <= kMost, "a time or a size is out of range");
  if (reader.ok()) *field = value;
}

void Load(control::Reader& reader, bool* field) {
  const uint8_t flag = reader.U8();
  reader.Require(flag <= 1, "a flag is neither 0 nor 1");
  *field = flag == 1;
}

void Load(control::Reader& reader, OpKind* field) {
  const uint8_t kind = reader.U8();
  reader.Require(kind < kOpKindCount, "an unknown operation");
  if (reader.ok()) *field = static_cast<OpKind>(kind);
}

void Load(control::Reader& reader, DType* field) {
  const uint8_t dtype = reader.U8();
  reader.Require(IsValid(static_cast<DType>(dtype)), "an unknown dtype");
  if (reader.ok()) *field = static_cast<DType>(dtype);
}

template <typename Span>
void VisitNext(control::Reader& reader, SpanVisitor* visitor) {
  Span span;
  const std::span<const uint8_t> name = reader.Bytes(reader.Count(kMaxSpanName, 1));
  if constexpr (requires { span.name; }) {
    span.name = {reinterpret_cast<const char*>(name.data()), name.size()};
  } else {
    reader.Require(name.empty(), "a name where there is none");
  }
  std::apply([&](auto&... fields) { (Load(reader, &fields), ...); }, Layout<Span>::FieldsOf(span));
  if (reader.ok()) visitor->Visit(span);
}

}  // namespace

template <typename Span>
bool ChunkWriter::Put(const Span& span) {
  const std::string_view name = NameOf(span);
  return std::apply(
      [&](const auto&... fields) {
        const size_t bytes = 1 + sizeof(uint32_t) + name.size() + (sizeof(Wired(fields)) + ...);
        if (used_ + bytes > kMaxSpanBytes) return false;
        if (bytes_ == nullptr) bytes_ = std::make_unique_for_overwrite<uint8_t[]>(kMaxSpanBytes);
        uint8_t* at = Store(bytes_.get() + used_, Layout<Span>::kKind);
        at = Store(at, static_cast<uint32_t>(name.size()));
        at = std::copy(name.begin(), name.end(), at);
        ((at = Store(at, Wired(fields))), ...);
        used_ += bytes;
        ++spans_;
        return true;
      },
      Layout<Span>::FieldsOf(span));
}

bool ChunkWriter::Append(const RequestSpan& span) { return Put(span); }
bool ChunkWriter::Append(const BucketSpan& span) { return Put(span); }
bool ChunkWriter::Append(const CopySpan& span) { return Put(span); }
bool ChunkWriter::Append(const WaitSpan& span) { return Put(span); }
bool ChunkWriter::Append(const FrameMark& mark) { return Put(mark); }

std::vector<uint8_t> ChunkWriter::Take() {
  std::vector<uint8_t> taken(sizeof(uint32_t) + used_);
  uint8_t* const first = Store(taken.data(), static_cast<uint32_t>(spans_));
  if (used_ > 0) std::memcpy(first, bytes_.get(), used_);
  used_ = 0;
  spans_ = 0;
  return taken;
}

uint32_t SpansIn(std::span<const uint8_t> chunk) {
  return control::Reader(chunk.data(), chunk.size()).U32();
}

Status ReadChunk(std::span<const uint8_t> bytes, SpanVisitor* visitor) {
  control::Reader reader(bytes.data(), bytes.size());
  const uint32_t spans = reader.U32();
  uint32_t read = 0;
  for (; reader.ok() && reader.remaining() > 0; ++read) {
    switch (reader.U8()) {
      case Layout<RequestSpan>::kKind:
        VisitNext<RequestSpan>(reader, visitor);
        break;
      case Layout<BucketSpan>::kKind:
        VisitNext<BucketSpan>(reader, visitor);
        break;
      case Layout<CopySpan>::kKind:
        VisitNext<CopySpan>(reader, visitor);
        break;
      case Layout<WaitSpan>::kKind:
        VisitNext<WaitSpan>(reader, visitor);
        break;
      case Layout<FrameMark>::kKind:
        VisitNext<FrameMark>(reader, visitor);
        break;
      default:
        reader.Fail("an unknown kind of span");
    }
  }
  reader.Require(read == spans, "it counts its spans otherwise");
  return reader.Finish("a chunk of the timeline");
}

}  // namespace rueda::timeline
