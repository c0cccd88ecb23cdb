#include "control/fingerprint.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>

namespace rueda::control {
namespace {

// Each step is the finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
// generators, OOPSLA 2014, figure 16), a bijection in which each bit reaches all others.
class Mixer {
 public:
  void Add(uint64_t word) {
    uint64_t mixed = state_ + 0x9e3779b97f4a7c15U + word;
    mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebU;
    state_ = mixed ^ (mixed >> 31U);
  }
  void Add(double value) { Add(std::bit_cast<uint64_t>(value)); }
  void Add(std::string_view text) {
    Add(uint64_t{text.size()});
    for (size_t at = 0; at < text.size(); at += sizeof(uint64_t)) {
      uint64_t word = 0;
      std::memcpy(&word, text.data() + at, std::min(sizeof word, text.size() - at));
      Add(word);
    }
  }
  void Add(const std::vector<int64_t>& numbers) {
    Add(uint64_t{numbers.size()});
    for (const int64_t number : numbers) Add(static_cast<uint64_t>(number));
  }

  // Never 0.
  uint64_t Fingerprint() const { return state_ != 0 ? state_ : 1; }

 private:
  uint64_t state_ = 0;
};

}  // namespace

uint64_t FingerprintOf(const Request& request) {
  Mixer mixer;
  mixer.Add(static_cast<uint64_t>(request.kind) << 32U | static_cast<uint64_t>(request.op));
  mixer.Add(static_cast<uint64_t>(static_cast<uint32_t>(request.root)) << 32U |
            static_cast<uint32_t>(request.priority));
  mixer.Add(request.prescale);
  mixer.Add(request.postscale);
  mixer.Add(uint64_t{request.process_set});
  mixer.Add(request.name);
  mixer.Add(request.parts);
  mixer.Add(uint64_t{request.tensors.size()});
  for (const TensorSpec& tensor : request.tensors) {
    mixer.Add(tensor.name);
    mixer.Add(static_cast<uint64_t>(tensor.dtype));
    mixer.Add(tensor.shape);
  }
  return mixer.Fingerprint();
}

uint64_t FingerprintOf(uint64_t frame, uint32_t slot) {
  Mixer mixer;
  mixer.Add(frame);
  mixer.Add(uint64_t{slot});
  return mixer.Fingerprint();
}

}  // namespace rueda::control
