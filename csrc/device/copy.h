// CopyStreaming: a copy that leaves the caches out.
#pragma once

#include <cstdint>

namespace rueda::device {

// For a reader that shares no cache with this core: it finds the bytes in memory, whence they come
// in long rows, instead of fetching each line out of this core's cache. And for more bytes than
// caches hold until they are read: lines that are written whole need not be fetched first. They are
// there before whatever this thread releases next. The regions are apart. Any thread.
void CopyStreaming(void* to, const void* from, int64_t bytes);

}  // namespace rueda::device
