#include "bench/limit.h"

#include <cstring>

namespace rueda::bench {
namespace {

using Loop = void (*)(uint64_t* words, size_t count, uint64_t addend);

inline __attribute__((always_inline)) void AddToWords(uint64_t* words, size_t count,
                                                      uint64_t addend) {
  for (size_t i = 0; i < count; ++i) words[i] += addend;
}

void Baseline(uint64_t* words, size_t count, uint64_t addend) { AddToWords(words, count, addend); }

// The same loop for wider vectors. Not by target_clones: its resolvers run before a sanitizer does.
#if defined(__x86_64__)
__attribute__((target("avx2"))) void Avx2(uint64_t* words, size_t count, uint64_t addend) {
  AddToWords(words, count, addend);
}

__attribute__((target("avx512f"))) void Avx512(uint64_t* words, size_t count, uint64_t addend) {
  AddToWords(words, count, addend);
}

Loop WidestLoop() {
  if (__builtin_cpu_supports("avx512f")) return Avx512;
  return __builtin_cpu_supports("avx2") ? Avx2 : Baseline;
}
#else
Loop WidestLoop() { return Baseline; }
#endif

}  // namespace

void ReadAndWrite(std::span<uint8_t> bytes, uint64_t addend) {
  const size_t words = bytes.size() / sizeof(uint64_t);
  // The memory was allocated for benchmarks: on a cache line, of no type yet.
  static const Loop loop = WidestLoop();
  loop(reinterpret_cast<uint64_t*>(bytes.data()), words, addend);
  for (size_t i = words * sizeof(uint64_t); i < bytes.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(bytes[i] + addend);
  }
}

LimitProcedure::LimitProcedure(Board* board, int64_t bytes)
    : board_(board), bytes_(static_cast<size_t>(bytes)), memory_(AllocateMemory(bytes)) {}

Status LimitProcedure::Call() {
  RUEDA_RETURN_IF_ERROR(board_->StartLine());
  ReadAndWrite(input(), 1);
  return Status::Ok();
}

}  // namespace rueda::bench
