#include "timeline/chunk.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "control/wire.h"
#include "control/words.h"

namespace rueda::timeline {
namespace {

enum : uint8_t { kRequest = 1, kBucket = 2, kCopy = 3, kWait = 4, kFrame = 5 };

constexpr size_t kMaxSpanBytes = kMaxChunkBytes - sizeof(uint32_t);

template <typename Integer>
uint8_t* Store(uint8_t* at, Integer value) {
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(at, &value, sizeof value);
  } else {
    for (size_t i = 0; i < sizeof value; ++i) at[i] = static_cast<uint8_t>(value >> (8 * i));
  }
  return at + sizeof value;
}

std::string_view NameFrom(control::Reader& reader) {
  const std::span<const uint8_t> bytes = reader.Bytes(reader.Count(kMaxSpanName, 1));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

OpKind KindFrom(control::Reader& reader) {
  const uint8_t kind = reader.U8();
  reader.Require(kind < kOpKindCount, "an unknown operation");
  return reader.ok() ? static_cast<OpKind>(kind) : OpKind::kBarrier;
}

DType DTypeFrom(control::Reader& reader) {
  const uint8_t dtype = reader.U8();
  reader.Require(IsValid(static_cast<DType>(dtype)), "an unknown dtype");
  return reader.ok() ? static_cast<DType>(dtype) : DType::kUInt8;
}

// So small that differences of times, and sums with an offset, do not overflow.
constexpr int64_t kLastTime = int64_t{1} << 61;

int64_t TimeFrom(control::Reader& reader) {
  const int64_t time = reader.I64();
  reader.Require(time >= 0 && time <= kLastTime, "a time is out of range");
  return reader.ok() ? time : 0;
}

bool FlagFrom(control::Reader& reader) {
  const uint8_t flag = reader.U8();
  reader.Require(flag <= 1, "a flag is neither 0 nor 1");
  return flag == 1;
}

RequestSpan ReadRequest(control::Reader& reader) {
  RequestSpan span;
  span.name = NameFrom(reader);
  span.kind = KindFrom(reader);
  span.error = reader.I32();
  span.process_set = reader.U32();
  span.tensors = reader.U32();
  span.bytes = reader.I64();
  span.frame = reader.U64();
  span.bucket = reader.U64();
  span.submitted = TimeFrom(reader);
  span.offered = TimeFrom(reader);
  span.agreed = TimeFrom(reader);
  span.begun = TimeFrom(reader);
  span.done = TimeFrom(reader);
  span.last_rank = reader.I32();
  span.spread = TimeFrom(reader);
  return span;
}

BucketSpan ReadBucket(control::Reader& reader) {
  BucketSpan span;
  span.name = NameFrom(reader);
  span.kind = KindFrom(reader);
  span.dtype = DTypeFrom(reader);
  span.in_place = FlagFrom(reader);
  span.absent = FlagFrom(reader);
  span.error = reader.I32();
  span.process_set = reader.U32();
  span.tensors = reader.U32();
  span.bytes = reader.I64();
  span.frame = reader.U64();
  span.bucket = reader.U64();
  span.begun = TimeFrom(reader);
  span.done = TimeFrom(reader);
  return span;
}

CopySpan ReadCopy(control::Reader& reader) {
  CopySpan span;
  (void)NameFrom(reader);
  span.out = FlagFrom(reader);
  span.bytes = reader.I64();
  span.begun = TimeFrom(reader);
  span.done = TimeFrom(reader);
  return span;
}

WaitSpan ReadWait(control::Reader& reader) {
  WaitSpan span;
  span.name = NameFrom(reader);
  span.thread = reader.I32();
  span.begun = TimeFrom(reader);
  span.done = TimeFrom(reader);
  return span;
}

FrameMark ReadFrame(control::Reader& reader) {
  FrameMark mark;
  (void)NameFrom(reader);
  mark.number = reader.U64();
  mark.responses = reader.U32();
  mark.at = TimeFrom(reader);
  return mark;
}

template <typename Span>
void VisitIfRead(const control::Reader& reader, const Span& span, SpanVisitor* visitor) {
  if (reader.ok()) visitor->Visit(span);
}

}  // namespace

template <typename... Fields>
bool ChunkWriter::Put(uint8_t type, std::string_view name, Fields... fields) {
  name = control::Clip(name, kMaxSpanName);
  const size_t bytes = 1 + sizeof(uint32_t) + name.size() + (sizeof(Fields) + ... + 0);
  if (used_ + bytes > kMaxSpanBytes) return false;
  if (bytes_ == nullptr) bytes_ = std::make_unique_for_overwrite<uint8_t[]>(kMaxSpanBytes);
  uint8_t* at = Store(bytes_.get() + used_, type);
  at = Store(at, static_cast<uint32_t>(name.size()));
  at = std::copy(name.begin(), name.end(), at);
  ((at = Store(at, fields)), ...);
  used_ += bytes;
  ++spans_;
  return true;
}

bool ChunkWriter::Append(const RequestSpan& span) {
  return Put(kRequest, span.name, static_cast<uint8_t>(span.kind), span.error, span.process_set,
             span.tensors, span.bytes, span.frame, span.bucket, span.submitted, span.offered,
             span.agreed, span.begun, span.done, span.last_rank, span.spread);
}

bool ChunkWriter::Append(const BucketSpan& span) {
  return Put(kBucket, span.name, static_cast<uint8_t>(span.kind), static_cast<uint8_t>(span.dtype),
             static_cast<uint8_t>(span.in_place), static_cast<uint8_t>(span.absent), span.error,
             span.process_set, span.tensors, span.bytes, span.frame, span.bucket, span.begun,
             span.done);
}

bool ChunkWriter::Append(const CopySpan& span) {
  return Put(kCopy, {}, static_cast<uint8_t>(span.out), span.bytes, span.begun, span.done);
}

bool ChunkWriter::Append(const WaitSpan& span) {
  return Put(kWait, span.name, span.thread, span.begun, span.done);
}

bool ChunkWriter::Append(const FrameMark& mark) {
  return Put(kFrame, {}, mark.number, mark.responses, mark.at);
}

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
      case kRequest:
        VisitIfRead(reader, ReadRequest(reader), visitor);
        break;
      case kBucket:
        VisitIfRead(reader, ReadBucket(reader), visitor);
        break;
      case kCopy:
        VisitIfRead(reader, ReadCopy(reader), visitor);
        break;
      case kWait:
        VisitIfRead(reader, ReadWait(reader), visitor);
        break;
      case kFrame:
        VisitIfRead(reader, ReadFrame(reader), visitor);
        break;
      default:
        reader.Fail("an unknown kind of span");
    }
  }
  reader.Require(read == spans, "it counts its spans otherwise");
  return reader.Finish("a chunk of the timeline");
}

}  // namespace rueda::timeline
