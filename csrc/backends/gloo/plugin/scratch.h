// Scratch: memory for the bucket under way, grown to the largest one and kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace rueda::backends {

// One thread's. What it handed out is gone with the next call.
class Scratch {
 public:
  // At least `bytes`, aligned to 64, not cleared. Throws std::bad_alloc.
  uint8_t* Get(size_t bytes) {
    if (bytes > bytes_) {
      memory_.reset();  // first, so that the old and the new one are never there together
      bytes_ = 0;
      memory_.reset(static_cast<uint8_t*>(::operator new(bytes, kAlignment)));
      bytes_ = bytes;
    }
    return memory_.get();
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(uint8_t* memory) const { ::operator delete(memory, kAlignment); }
  };
  std::unique_ptr<uint8_t, Free> memory_;
  size_t bytes_ = 0;
};

}  // namespace rueda::backends
