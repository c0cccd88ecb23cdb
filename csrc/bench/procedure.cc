#include "bench/procedure.h"

#include <cstring>
#include <new>

namespace rueda::bench {

Memory AllocateMemory(int64_t bytes) {
  constexpr size_t kPage = 4096;
  const size_t whole = (static_cast<size_t>(bytes) / kPage + 1) * kPage;
  Memory memory(static_cast<uint8_t*>(std::aligned_alloc(kPage, whole)));
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory.get(), 0, whole);
  return memory;
}

}  // namespace rueda::bench
