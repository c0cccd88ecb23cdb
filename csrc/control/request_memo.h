// RequestMemo: the requests that were read last, with the bytes that they were read from.
//
// Ranks offer the same, byte for byte, in the first step of a job and wherever all of them change
// something. What the same bytes said before, in the same place of a message, is neither read again
// nor made anew: its readers share it. One thread at a time; bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "control/request.h"
#include "control/wire.h"

namespace rueda::control {

class RequestMemo {
 public:
  // Reads `count` requests, or fewer if the reader fails, behind those in `requests`.
  void Read(Reader& reader, uint32_t count, std::vector<SharedRequest>* requests);

 private:
  // Enough for the names of large models.
  static constexpr size_t kMostBytes = size_t{4} << 20;

  struct Known {
    std::vector<uint8_t> bytes;
    SharedRequest request;
  };
  void Remember(size_t at, std::span<const uint8_t> bytes, const SharedRequest& request);

  std::vector<Known> known_;  // by place in the message
  size_t bytes_ = 0;          // of all of them
};

}  // namespace rueda::control
