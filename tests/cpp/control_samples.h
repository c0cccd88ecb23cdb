// Samples for the control layer's tests: requests to change a little, seeded random ones.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/messages.h"
#include "core/types.h"

namespace rueda::control {

// SplitMix64 (Steele, Lea, Flood 2014): the same numbers from a seed with every standard library.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  // Below `limit`, which is not 0.
  size_t Below(size_t limit) { return static_cast<size_t>(Next() % limit); }
  int64_t Int(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(Below(static_cast<size_t>(high - low + 1)));
  }
  bool Chance(size_t percent) { return Below(100) < percent; }

 private:
  uint64_t state_;
};

inline Request Allreduce(std::string name, std::vector<int64_t> shape = {10, 4}) {
  Request request;
  request.name = name;
  request.tensors = {{std::move(name), DType::kFloat32, std::move(shape)}};
  return request;
}

inline SharedRequest Shared(Request request) {
  return std::make_shared<const Request>(std::move(request));
}
inline std::vector<SharedRequest> Shared(std::vector<Request> requests) {
  std::vector<SharedRequest> shared;
  for (Request& request : requests) shared.push_back(Shared(std::move(request)));
  return shared;
}

inline Request Allgather(std::string name, std::vector<int64_t> shape) {
  Request request = Allreduce(std::move(name), std::move(shape));
  request.kind = OpKind::kAllgather;
  return request;
}

inline Request Broadcast(std::string name, int root, std::vector<int64_t> shape = {10, 4}) {
  Request request = Allreduce(std::move(name), std::move(shape));
  request.kind = OpKind::kBroadcast;
  request.root = root;
  return request;
}

inline Request Barrier(std::string name) {
  Request request;
  request.kind = OpKind::kBarrier;
  request.name = std::move(name);
  return request;
}

inline Request Join(uint32_t process_set = 0) {
  Request join;
  join.kind = OpKind::kJoin;
  join.name = "join";
  join.process_set = process_set;
  join.transient = true;
  return join;
}

inline Request InSet(Request request, uint32_t process_set) {
  request.process_set = process_set;
  return request;
}

inline Topology TopologyOf(int size) {
  Topology topology;
  topology.size = size;
  for (int rank = 0; rank < size; ++rank) {
    topology.peers.push_back(
        {std::string("host") + static_cast<char>('a' + rank % 26), 100 + rank});
  }
  return topology;
}

// A response as agreeing makes it.
inline Response Agreed(const std::string& name, uint32_t slot = kNoSlot) {
  Response response;
  response.name = name;
  response.slot = slot;
  return response;
}

// A cached slot among a frame's answers.
inline Response Cached(uint32_t slot) { return Agreed("", slot); }
inline bool IsCached(const Response& response) {
  return response.slot != kNoSlot && response.name.empty();
}

// What a frame answers, in the order in which ranks run it.
inline std::vector<Response> AnswersOf(const Frame& frame) {
  std::vector<Response> answers;
  frame.cached.ForEach(
      [&](size_t slot) { answers.push_back(Cached(static_cast<uint32_t>(slot))); });
  answers.insert(answers.end(), frame.responses.begin(), frame.responses.end());
  return answers;
}

inline Response Failed(const std::string& name, Status error, int only_rank = -1) {
  Response response;
  response.name = name;
  response.error = std::move(error);
  response.only_rank = only_rank;
  return response;
}

}  // namespace rueda::control
