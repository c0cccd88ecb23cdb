// Chunk: spans of one rank as bytes, small enough for one aside, each chunk readable by itself.
//
// Written where things happen, so writing is plain stores into memory that is there already; read
// by rank 0's writer thread. The format is in docs/wire-format.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/status.h"
#include "timeline/spans.h"

namespace rueda::timeline {

inline constexpr size_t kMaxChunkBytes = 16000;  // an aside's body less its head
inline constexpr size_t kMaxSpanName = 512;      // longer names are cut

// One thread at a time.
class ChunkWriter {
 public:
  // False, and nothing is written, when there is no room; an empty chunk has room for any span.
  bool Append(const RequestSpan& span);
  bool Append(const BucketSpan& span);
  bool Append(const CopySpan& span);
  bool Append(const WaitSpan& span);
  bool Append(const FrameMark& mark);

  size_t spans() const { return spans_; }
  // The bytes so far; the chunk is empty again.
  std::vector<uint8_t> Take();

 private:
  template <typename Span>
  bool Put(const Span& span);

  std::unique_ptr<uint8_t[]> bytes_;  // allocated by the first span
  size_t used_ = 0;
  size_t spans_ = 0;
};

// Is told of each span of a chunk, in the order in which they were appended.
class SpanVisitor {
 public:
  virtual ~SpanVisitor() = default;
  virtual void Visit(const RequestSpan& span) = 0;
  virtual void Visit(const BucketSpan& span) = 0;
  virtual void Visit(const CopySpan& span) = 0;
  virtual void Visit(const WaitSpan& span) = 0;
  virtual void Visit(const FrameMark& mark) = 0;
};

// How many spans a chunk says that it holds; 0 for what is no chunk.
uint32_t SpansIn(std::span<const uint8_t> chunk);

// kCorrupt for anything that a ChunkWriter does not write; what came before it was visited.
Status ReadChunk(std::span<const uint8_t> bytes, SpanVisitor* visitor);

}  // namespace rueda::timeline
