// CopyStreaming where stores that pass the caches are not to be had: an ordinary copy.
#include <cstring>

#include "device/copy.h"

namespace rueda::device {

void CopyStreaming(void* to, const void* from, int64_t bytes) {
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace rueda::device
