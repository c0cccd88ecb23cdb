// Spans: what a timeline records of one rank. Values; names are views into somebody else's memory.
//
// All times are nanoseconds of the rank's own steady clock, 0 where the moment never came or was
// not seen. The words are the glossary's: request, bucket, frame.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/types.h"

namespace rueda::timeline {

// One request on its way, told when it has completed.
struct RequestSpan {
  OpKind kind = OpKind::kAllreduce;
  int32_t error = 0;  // the StatusCode it ended with
  uint32_t process_set = 0;
  uint32_t tensors = 0;
  int64_t bytes = 0;    // of this rank's tensors
  uint64_t frame = 0;   // the frame that agreed on it
  uint64_t bucket = 0;  // of the process set, from 1, the first one that held a part; 0: none
  int64_t submitted = 0;
  int64_t offered = 0;  // to the coordinator
  int64_t agreed = 0;   // its frame was taken in
  int64_t begun = 0;    // its first bucket began
  int64_t done = 0;
  // Known to rank 0 alone: who offered last, and how long after the first one; -1: not known.
  int32_t last_rank = -1;
  int64_t spread = 0;
  std::string_view name;

  bool operator==(const RequestSpan&) const = default;
};

// One bucket, from its backend's Begin to its end.
struct BucketSpan {
  OpKind kind = OpKind::kAllreduce;
  DType dtype = DType::kFloat32;
  bool in_place = false;
  bool absent = false;  // this rank has joined and stood aside
  int32_t error = 0;
  uint32_t process_set = 0;
  uint32_t tensors = 0;
  int64_t bytes = 0;
  uint64_t frame = 0;
  uint64_t bucket = 0;
  int64_t begun = 0;
  int64_t done = 0;
  std::string_view name;  // of its first request

  bool operator==(const BucketSpan&) const = default;
};

// A copy that a backend made between tensors and memory of its own, within a bucket.
struct CopySpan {
  bool out = false;  // from its memory into tensors
  int64_t bytes = 0;
  int64_t begun = 0;
  int64_t done = 0;

  bool operator==(const CopySpan&) const = default;
};

// A thread of the application that slept until a request was done, or looked up from it.
struct WaitSpan {
  int32_t thread = 0;  // as the operating system numbers it
  int64_t begun = 0;
  int64_t done = 0;
  std::string_view name;

  bool operator==(const WaitSpan&) const = default;
};

// A frame was taken in.
struct FrameMark {
  uint64_t number = 0;
  uint32_t responses = 0;
  int64_t at = 0;

  bool operator==(const FrameMark&) const = default;
};

}  // namespace rueda::timeline
