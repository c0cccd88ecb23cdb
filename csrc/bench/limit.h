// The machine's limit for a size: every rank reads and writes a buffer of its own once.
//
// No all-reduce can do with less: each contribution is read and each result written. So the limit
// of one call is a barrier of all ranks, without which nothing was exchanged, and then this pass.
#pragma once

#include <cstdint>

#include "bench/board.h"
#include "bench/procedure.h"

namespace rueda::bench {

// Reads and writes every byte once, in vectors as wide as the processor has. Also what stands for
// the code that writes a gradient. `addend` is 0 where the values are to stay.
void ReadAndWrite(std::span<uint8_t> bytes, uint64_t addend);

class LimitProcedure final : public Procedure {
 public:
  // The board outlives it.
  LimitProcedure(Board* board, int64_t bytes);

  std::span<uint8_t> input() override { return {memory_.get(), bytes_}; }
  std::span<uint8_t> output() override { return input(); }
  Status Call() override;

 private:
  Board* const board_;
  const size_t bytes_;
  Memory memory_;
};

}  // namespace rueda::bench
