// Procedure: one way to do one collective, again and again, on memory of its own.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

#include "core/status.h"

namespace rueda::bench {

class Procedure {
 public:
  virtual ~Procedure() = default;

  // What this rank contributes, for the caller to fill and for Rewrite.
  virtual std::span<uint8_t> input() = 0;
  // What the last call left; perhaps the input.
  virtual std::span<uint8_t> output() = 0;
  // Whether every call has to find its input freshly written by its owner, or the ranks would not
  // fetch each other's bytes any more: a sum in place leaves each slice in its reader's cache.
  virtual bool wants_fresh_input() const { return false; }

  // All ranks call it as often. Blocks.
  virtual Status Call() = 0;
};

struct FreeMemory {
  void operator()(uint8_t* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<uint8_t[], FreeMemory>;

// Zeroed private memory on a cache line, at least a line of it, touched by this thread.
Memory AllocateMemory(int64_t bytes);

}  // namespace rueda::bench
