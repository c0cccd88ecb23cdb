// Batch and Frame: the two messages of the control road.
//
// A rank sends the coordinator batches of offers; the coordinator answers all ranks with the same
// numbered frames. After the first agreement on a request it is a slot number, and an offer of the
// same request is one bit. Formats: docs/wire-format.md.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/bit_set.h"
#include "control/request.h"
#include "core/clock.h"
#include "core/status.h"

namespace rueda::control {

class RequestMemo;

inline constexpr uint32_t kNoSlot = UINT32_MAX;

// What one rank tells the coordinator at once. Each name appears at most once between two frames
// that answer it, so slots need no generations.
struct Batch {
  // Offers of requests agreed before, unchanged.
  BitSet slots;
  // Offers in full: new, changed, or transient.
  std::vector<SharedRequest> requests;
  // Set on a rank's last batch: it shuts down; the text says why ("" for an ordinary shutdown).
  std::optional<std::string> leave_reason;

  bool empty() const { return slots.empty() && requests.empty() && !leave_reason; }
  // Keeps its memory.
  void Clear();
  // Requests by their values.
  bool operator==(const Batch& other) const;
};

// How the offers of one round came in, on rank 0; never on the wire.
struct Arrival {
  int last_offerer = -1;  // a rank, -1: not known
  Duration spread{};      // from the first offer to the last
};

// What all ranks agreed about one request, or why they cannot.
struct Response {
  uint32_t slot = kNoSlot;  // the request's slot from now on; kNoSlot: transient, or error
  // Names are unique within a process set, so this tells two sets' requests of one name apart.
  uint32_t process_set = 0;
  std::string name;
  Status error;        // ok: run it; mismatch and departures leave the epoch alive
  int only_rank = -1;  // error addressed to one rank (it alone has offered), or -1: to all
  std::vector<int64_t> placements;  // by rank of the set; empty: staged
  // By tensor. Allgather and gather: the first dimension that each rank offered, by rank. Alltoall
  // and scatter: the rows that rank i sends to rank j, at i * (size of the set) + j.
  std::vector<std::vector<int64_t>> first_dims;
  // A new process set: its number. Join: the rank that joined last.
  int64_t number = 0;
  // Ranks that have joined and did not offer it, ascending; then `request` is what the others
  // offered, for those who do not know it. Such a response has no slot and changes none.
  std::vector<int> absent;
  std::shared_ptr<const Request> request;
  Arrival arrival;  // where it was made

  // Whether `rank` (a member of the process set) has to act on it at all.
  bool AddressedTo(int rank) const { return only_rank < 0 || only_rank == rank; }
  bool IsAbsent(int rank) const {
    return std::find(absent.begin(), absent.end(), rank) != absent.end();
  }
  bool operator==(const Response& other) const;
};

// Limits that every rank must use alike, so they travel in the frame and never come from a rank's
// own configuration.
struct Limits {
  int64_t bucket_bytes = int64_t{64} << 20;
  Duration run_timeout = std::chrono::seconds(300);  // of one bucket, while it runs
  // How long nothing may have been submitted before a rank offers what it has, see engine::Linger.
  Duration linger = std::chrono::microseconds(30);

  bool operator==(const Limits&) const = default;
};

// One numbered answer of the coordinator, the same bytes to all ranks. Ranks run the cached slots
// in ascending order, then the responses in theirs (I1).
struct Frame {
  uint64_t number = 0;
  Limits limits;
  // Every member offered the slot: what was agreed for it before holds.
  BitSet cached;
  std::vector<Arrival> arrivals;  // of `cached`, in ascending order, where the frame was made
  std::vector<Response> responses;

  bool empty() const { return cached.empty() && responses.empty(); }
  // What is on the wire.
  bool operator==(const Frame& other) const;
  // Keeps its memory.
  void Clear();
};

// Bounds that decoding enforces before it allocates.
inline constexpr size_t kMaxMessageBytes = size_t{64} << 20;
inline constexpr size_t kMaxRequestBytes = kMaxMessageBytes / 2;  // one request, encoded
// The requests of one batch together, encoded; the rest is left for slots and a reason to leave.
inline constexpr size_t kMaxBatchRequestBytes = kMaxMessageBytes - (size_t{1} << 20);
inline constexpr size_t kMaxNameBytes = 4096;
inline constexpr size_t kMaxTextBytes = 65536;  // errors and reasons to leave; longer ones are cut
inline constexpr size_t kMaxTensorsPerRequest = 65536;
inline constexpr size_t kMaxDimensions = 64;
inline constexpr uint32_t kMaxSlots = 65536;  // slots are below it

// kInvalidArgument, in words, if `request` breaks one of the bounds, has a negative dimension or is
// larger than memory can be: to be asked before it is offered, because a message that breaks them
// is refused as corrupt.
Status CheckRequest(const Request& request);
// What `request` adds to an encoded batch. Whoever fills a batch keeps the sum of these within
// kMaxBatchRequestBytes.
size_t EncodedBytes(const Request& request);
// What a full or error response adds to an encoded frame.
size_t EncodedBytes(const Response& response);

// Into the memory of `*bytes`, and of what decoding fills: messages of slots alone allocate nothing
// once that memory has been big enough.
void Encode(const Batch& batch, std::vector<uint8_t>* bytes);
void Encode(const Frame& frame, std::vector<uint8_t>* bytes);
// kCorrupt for anything that Encode does not produce from valid values; never reads past `bytes`.
// With a memo, batches that say the same share their requests.
Status DecodeBatch(std::span<const uint8_t> bytes, Batch* batch, RequestMemo* memo = nullptr);
Status DecodeFrame(std::span<const uint8_t> bytes, Frame* frame);

std::vector<uint8_t> Encode(const Batch& batch);
std::vector<uint8_t> Encode(const Frame& frame);
Result<Batch> DecodeBatch(const uint8_t* data, size_t bytes);
Result<Frame> DecodeFrame(const uint8_t* data, size_t bytes);

}  // namespace rueda::control
