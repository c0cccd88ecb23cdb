// Encode and DecodeFrame: a frame as bytes. Format: docs/wire-format.md, "Control messages".
#include <algorithm>
#include <memory>
#include <tuple>
#include <utility>

#include "control/message_header.h"
#include "control/messages.h"
#include "control/request_codec.h"
#include "control/slot_set.h"
#include "control/wire.h"
#include "control/words.h"

namespace rueda::control {
namespace {

enum Item : uint8_t { kAgreedItem = 0, kErrorItem = 1 };

// A switch, so that the compiler asks for a line here when a code is added.
bool IsError(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return false;
    case StatusCode::kInvalidArgument:
    case StatusCode::kNotInitialized:
    case StatusCode::kDuplicateName:
    case StatusCode::kUnsupported:
    case StatusCode::kForked:
    case StatusCode::kMismatch:
    case StatusCode::kPeerLeft:
    case StatusCode::kPeerLost:
    case StatusCode::kTimedOut:
    case StatusCode::kShutDown:
    case StatusCode::kStalled:
    case StatusCode::kSystem:
    case StatusCode::kCorrupt:
      return true;
  }
  return false;
}

void WriteAgreed(Writer& writer, const Response& response) {
  writer.U8(kAgreedItem);
  writer.U32(response.process_set);
  writer.String(response.name);
  writer.U32(response.slot);
  writer.I64s(response.placements);
  writer.U32(static_cast<uint32_t>(response.first_dims.size()));
  for (const std::vector<int64_t>& dims : response.first_dims) writer.I64s(dims);
  writer.I64(response.number);
  writer.U32(static_cast<uint32_t>(response.absent.size()));
  for (const int rank : response.absent) writer.I32(rank);
  if (!response.absent.empty()) Write(writer, *response.request);
}

void WriteError(Writer& writer, const Response& response) {
  writer.U8(kErrorItem);
  writer.U32(response.process_set);
  writer.String(response.name);
  writer.I32(response.only_rank);
  writer.U32(static_cast<uint32_t>(response.error.code()));
  writer.I32(response.error.blamed_rank());
  writer.String(Clip(response.error.message(), kMaxTextBytes));
}

void ReadAbsent(Reader& reader, Response& response) {
  const uint32_t absent = reader.Count(kMaxMessageBytes, sizeof(int32_t));
  if (absent == 0) return;
  response.absent.reserve(absent);
  for (uint32_t i = 0; i < absent; ++i) response.absent.push_back(reader.I32());
  const bool ascend = std::is_sorted(response.absent.begin(), response.absent.end());
  reader.Require(response.absent.front() >= 0 && ascend, "absent ranks are not in order");
  reader.Require(response.slot == kNoSlot, "an answer that lacks ranks has a slot");
  response.request = std::make_shared<const Request>(ReadRequest(reader));
}

Response ReadAgreed(Reader& reader) {
  Response response;
  response.process_set = reader.U32();
  response.name = reader.String(kMaxNameBytes);
  response.slot = reader.U32();
  reader.Require(response.slot == kNoSlot || response.slot < kMaxSlots, "a slot is too large");
  response.placements = reader.I64s(kPrivate);
  const uint32_t tensors = reader.Count(kMaxTensorsPerRequest, sizeof(uint32_t));
  response.first_dims.reserve(tensors);
  for (uint32_t i = 0; i < tensors; ++i) response.first_dims.push_back(reader.I64s(0));
  response.number = reader.I64();
  ReadAbsent(reader, response);
  return response;
}

Response ReadError(Reader& reader) {
  Response response;
  response.process_set = reader.U32();
  response.name = reader.String(kMaxNameBytes);
  response.only_rank = reader.I32();
  const auto code = static_cast<StatusCode>(reader.I32());
  const int32_t blamed = reader.I32();
  reader.Require(response.only_rank >= -1 && blamed >= -1, "a rank is negative");
  reader.Require(IsError(code), "an error has an unknown code");
  response.error = Status(code, reader.String(kMaxTextBytes)).Blame(blamed);
  return response;
}

Response ReadItem(Reader& reader) {
  const uint8_t item = reader.U8();
  if (item == kAgreedItem) return ReadAgreed(reader);
  reader.Require(item == kErrorItem, "an item has an unknown kind");
  return ReadError(reader);
}

constexpr size_t kLeastItemBytes = 1 + 4 + 4;

}  // namespace

size_t EncodedBytes(const Response& response) {
  constexpr size_t kItemAndSet = 1 + 4;
  const size_t start = kItemAndSet + 4 + response.name.size();
  if (!response.error.ok()) {
    return start + 4 + 4 + 4 + 4 + Clip(response.error.message(), kMaxTextBytes).size();
  }
  size_t bytes = start + 4 + 4 + sizeof(int64_t) * response.placements.size() + 4;
  for (const std::vector<int64_t>& dims : response.first_dims) {
    bytes += 4 + sizeof(int64_t) * dims.size();
  }
  bytes += sizeof(int64_t) + 4 + sizeof(int32_t) * response.absent.size();
  if (response.request != nullptr) bytes += EncodedBytes(*response.request);
  return bytes;
}

bool Frame::operator==(const Frame& other) const {
  const auto values = [](const Frame& f) {
    return std::tie(f.number, f.limits, f.cached, f.responses);
  };
  return values(*this) == values(other);
}

void Frame::Clear() {
  cached.Clear();
  arrivals.clear();
  responses.clear();
}

void Encode(const Frame& frame, std::vector<uint8_t>* bytes) {
  Writer writer(std::move(*bytes));
  WriteHeader(writer, MessageKind::kFrame);
  writer.U64(frame.number);
  writer.I64(frame.limits.bucket_bytes);
  writer.I64(frame.limits.run_timeout.count());
  writer.I64(frame.limits.linger.count());
  WriteSlots(writer, frame.cached);
  writer.U32(static_cast<uint32_t>(frame.responses.size()));
  for (const Response& response : frame.responses) {
    response.error.ok() ? WriteAgreed(writer, response) : WriteError(writer, response);
  }
  *bytes = writer.Take();
}

Status DecodeFrame(std::span<const uint8_t> bytes, Frame* frame) {
  frame->Clear();
  Reader reader(bytes.data(), bytes.size());
  ReadHeader(reader, MessageKind::kFrame);
  frame->number = reader.U64();
  frame->limits.bucket_bytes = reader.I64();
  frame->limits.run_timeout = Duration(reader.I64());
  frame->limits.linger = Duration(reader.I64());
  const Duration shortest = std::min(frame->limits.run_timeout, frame->limits.linger);
  reader.Require(frame->limits.bucket_bytes >= 0 && shortest >= Duration::zero(),
                 "a limit is negative");
  ReadSlots(reader, &frame->cached);
  const uint32_t count = reader.Count(kMaxMessageBytes, kLeastItemBytes);
  for (uint32_t i = 0; i < count && reader.ok(); ++i) frame->responses.push_back(ReadItem(reader));
  return reader.Finish("a frame of responses");
}

std::vector<uint8_t> Encode(const Frame& frame) {
  std::vector<uint8_t> bytes;
  Encode(frame, &bytes);
  return bytes;
}

Result<Frame> DecodeFrame(const uint8_t* data, size_t bytes) {
  Frame frame;
  RUEDA_RETURN_IF_ERROR(DecodeFrame({data, bytes}, &frame));
  return frame;
}

}  // namespace rueda::control
