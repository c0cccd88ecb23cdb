// Encode and DecodeFrame: a frame as bytes. Format: docs/wire-format.md, "Control messages".
#include <algorithm>
#include <memory>
#include <utility>

#include "control/message_header.h"
#include "control/messages.h"
#include "control/request_codec.h"
#include "control/slot_set.h"
#include "control/wire.h"
#include "control/words.h"

namespace rueda::control {
namespace {

enum Item : uint8_t { kAgreedItem = 0, kErrorItem = 1, kCachedItem = 2 };

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

// Reads one frame's items. A slot is answered at most once a frame, which bounds what a few bytes
// of bits can make of themselves.
class FrameReader {
 public:
  FrameReader(Reader& reader, std::vector<Response>& responses)
      : reader_(reader), responses_(responses) {}

  void ReadItem() {
    const uint8_t item = reader_.U8();
    if (item == kCachedItem) return ReadCached();
    last_cached_ = kNoSlot;
    if (item == kAgreedItem) {
      responses_.push_back(ReadAgreed(reader_));
    } else {
      reader_.Require(item == kErrorItem, "an item has an unknown kind");
      responses_.push_back(ReadError(reader_));
    }
  }

 private:
  void ReadCached() {
    const std::vector<uint32_t> slots = ReadSlots(reader_);
    reader_.Require(!slots.empty(), "a run of slots is empty");
    if (!reader_.ok()) return;
    reader_.Require(last_cached_ == kNoSlot || last_cached_ >= slots.front(), "a run is torn");
    cached_ += slots.size();
    reader_.Require(cached_ <= kMaxSlots, "it answers a slot twice");
    if (!reader_.ok()) return;
    last_cached_ = slots.back();
    responses_.reserve(responses_.size() + slots.size());
    for (const uint32_t slot : slots) {
      Response& response = responses_.emplace_back();
      response.slot = slot;
      response.cached = true;
    }
  }

  Reader& reader_;
  std::vector<Response>& responses_;
  size_t cached_ = 0;
  uint32_t last_cached_ = kNoSlot;  // of the item just before, if it was a run
};

// The run of cached responses from `first` on whose slots ascend.
std::vector<uint32_t> RunFrom(const std::vector<Response>& responses, size_t first) {
  std::vector<uint32_t> slots;
  for (size_t i = first; i < responses.size() && responses[i].cached; ++i) {
    if (!slots.empty() && slots.back() >= responses[i].slot) break;
    slots.push_back(responses[i].slot);
  }
  return slots;
}

void WriteItems(Writer& writer, const std::vector<Response>& responses) {
  for (size_t i = 0; i < responses.size();) {
    const Response& response = responses[i];
    if (response.cached) {
      const std::vector<uint32_t> slots = RunFrom(responses, i);
      writer.U8(kCachedItem);
      WriteSlots(writer, slots);
      i += slots.size();
      continue;
    }
    response.error.ok() ? WriteAgreed(writer, response) : WriteError(writer, response);
    ++i;
  }
}

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

std::vector<uint8_t> Encode(const Frame& frame) {
  Writer writer;
  WriteHeader(writer, MessageKind::kFrame);
  writer.U64(frame.number);
  writer.I64(frame.limits.bucket_bytes);
  writer.I64(frame.limits.run_timeout.count());
  writer.I64(frame.limits.linger.count());
  writer.U32(static_cast<uint32_t>(frame.responses.size()));
  WriteItems(writer, frame.responses);
  return writer.Take();
}

Result<Frame> DecodeFrame(const uint8_t* data, size_t bytes) {
  Reader reader(data, bytes);
  ReadHeader(reader, MessageKind::kFrame);
  Frame frame;
  frame.number = reader.U64();
  frame.limits.bucket_bytes = reader.I64();
  frame.limits.run_timeout = Duration(reader.I64());
  frame.limits.linger = Duration(reader.I64());
  const Duration shortest = std::min(frame.limits.run_timeout, frame.limits.linger);
  reader.Require(frame.limits.bucket_bytes >= 0 && shortest >= Duration::zero(),
                 "a limit is negative");
  const uint32_t count = reader.U32();
  FrameReader items(reader, frame.responses);
  while (reader.ok() && frame.responses.size() < count) items.ReadItem();
  reader.Require(frame.responses.size() == count, "a run is longer than the frame");
  RUEDA_RETURN_IF_ERROR(reader.Finish("a frame of responses"));
  return frame;
}

}  // namespace rueda::control
