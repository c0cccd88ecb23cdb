#include "backends/gloo/plugin/gloo_collectives.h"

#include <gloo/allgatherv.h>
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/gloo/plugin/gloo_reduce.h"
#include "collectives/piece_cursor.h"

namespace rueda::backends {
namespace {

using collectives::PieceCursor;

// Small enough to stay in the cache between two passes and to notice an abort within a millisecond;
// a multiple of every element size.
constexpr int64_t kChunkBytes = 262144;
// Up to here the number of messages matters more than that they overlap with the adding: bcube
// needs 2 log2(n) rounds where the ring needs 2 (n - 1).
constexpr size_t kBcubeBytes = 65536;
// The ring's unit, of which two are under way. Gloo's own megabyte falls out of a core's cache
// before it is added: over TCP 64 MiB took 52 ms of processor time with it, 46 ms with this (two
// ranks).
constexpr size_t kRingSegmentBytes = 262144;

int64_t BytesOf(std::span<const TensorView> pieces) {
  return std::accumulate(pieces.begin(), pieces.end(), int64_t{0},
                         [](int64_t sum, const TensorView& piece) {
                           return sum + static_cast<int64_t>(piece.bytes());
                         });
}

Status CheckBytes(std::string_view what, std::span<const TensorView> pieces, int64_t expected) {
  if (BytesOf(pieces) == expected) return Status::Ok();
  return {StatusCode::kInvalidArgument, "the " + std::string(what) + " hold " +
                                            std::to_string(BytesOf(pieces)) +
                                            " bytes, the bucket has " + std::to_string(expected)};
}

// Visits the pieces in chunks of whole elements: visit(at, offset of the first byte, bytes).
template <typename Visit>
Status ForEachChunk(const PeerLinks& links, std::span<const TensorView> pieces, Visit&& visit) {
  PieceCursor cursor(pieces);
  int64_t offset = 0;
  for (int64_t left = BytesOf(pieces); left > 0; left -= kChunkBytes) {
    RUEDA_RETURN_IF_ERROR(links.aborted());
    cursor.Next(std::min(left, kChunkBytes), [&](uint8_t* at, size_t bytes) {
      visit(at, offset, static_cast<int64_t>(bytes));
      offset += static_cast<int64_t>(bytes);
    });
  }
  return Status::Ok();
}

Status Gather(const PeerLinks& links, std::span<const TensorView> pieces, uint8_t* row) {
  return ForEachChunk(links, pieces, [row](const uint8_t* at, int64_t offset, int64_t bytes) {
    if (row + offset != at) std::memcpy(row + offset, at, static_cast<size_t>(bytes));
  });
}

Status Scatter(const PeerLinks& links, const uint8_t* row, std::span<const TensorView> pieces) {
  return ForEachChunk(links, pieces, [row](uint8_t* at, int64_t offset, int64_t bytes) {
    if (row + offset != at) std::memcpy(at, row + offset, static_cast<size_t>(bytes));
  });
}

void SetOutput(::gloo::AllreduceOptions& options, void* data, size_t count, size_t element) {
  switch (element) {
    case 1:
      return options.setOutput(static_cast<uint8_t*>(data), count);
    case 4:
      return options.setOutput(static_cast<uint32_t*>(data), count);
    case 8:
      return options.setOutput(static_cast<uint64_t*>(data), count);
    default:
      return options.setOutput(static_cast<uint16_t*>(data), count);
  }
}

}  // namespace

GlooCollectives::GlooCollectives(PeerLinks& links)
    : links_(links), context_(std::make_shared<LinkContext>(links)) {}

Status GlooCollectives::Supports(const Bucket& bucket, int size) {
  const size_t counts = bucket.kind == OpKind::kAllgather ? static_cast<size_t>(size) : 1;
  const bool known = static_cast<int>(bucket.kind) < kOpKindCount && IsValid(bucket.dtype);
  if (!known || (bucket.kind == OpKind::kAllreduce && !IsValid(bucket.op))) {
    return {StatusCode::kUnsupported, "the gloo backend does not know this operation or dtype"};
  }
  if (bucket.kind == OpKind::kBarrier) return Status::Ok();
  const bool negative = std::any_of(bucket.counts.begin(), bucket.counts.end(),
                                    [](int64_t count) { return count < 0; });
  if (bucket.counts.size() != counts || negative) {
    return {StatusCode::kUnsupported, "the gloo backend needs " + std::to_string(counts) +
                                          " element counts for " +
                                          std::string(NameOf(bucket.kind))};
  }
  if (bucket.kind == OpKind::kBroadcast && (bucket.root < 0 || bucket.root >= size)) {
    return {StatusCode::kUnsupported, "rank " + std::to_string(bucket.root) +
                                          ", the root, is not one of the " + std::to_string(size) +
                                          " ranks of the gloo backend"};
  }
  return Status::Ok();
}

Status GlooCollectives::Run(const Bucket& bucket, const BucketBuffers& buffers) {
  ++tag_;
  try {
    return RunUnguarded(bucket, buffers);
  } catch (const LinkFailure& failure) {
    return failure.status();
  } catch (const std::bad_alloc&) {
    return {StatusCode::kSystem, "out of memory"};
  } catch (const std::exception& exception) {
    return {StatusCode::kSystem, std::string("Gloo says: ") + exception.what()};
  }
}

Status GlooCollectives::RunUnguarded(const Bucket& bucket, const BucketBuffers& buffers) {
  RUEDA_RETURN_IF_ERROR(links_.aborted());
  switch (bucket.kind) {
    case OpKind::kAllreduce:
      return Allreduce(bucket, buffers);
    case OpKind::kAllgather:
      return Allgather(bucket, buffers);
    case OpKind::kBroadcast:
      return Broadcast(bucket, buffers);
    case OpKind::kBarrier:
      Barrier();
      return Status::Ok();
  }
  return {StatusCode::kUnsupported, "unknown operation"};
}

Status GlooCollectives::Allreduce(const Bucket& bucket, const BucketBuffers& buffers) {
  const int64_t count = bucket.counts.at(0);
  const auto element = static_cast<int64_t>(SizeOf(bucket.dtype));
  RUEDA_RETURN_IF_ERROR(CheckBytes("inputs", buffers.inputs, count * element));
  RUEDA_RETURN_IF_ERROR(CheckBytes("outputs", buffers.outputs, count * element));
  if (count == 0) return Status::Ok();
  const size_t work_element = SizeOf(AccumulatorOf(bucket.dtype));
  const size_t work_bytes = static_cast<size_t>(count) * work_element;
  // One output that holds accumulators is worked on where it lies.
  const bool in_output = buffers.outputs.size() == 1 && AccumulatorOf(bucket.dtype) == bucket.dtype;
  auto* const work =
      in_output ? static_cast<uint8_t*>(buffers.outputs[0].data) : Scratch(work_bytes);
  const auto work_at = [&](int64_t offset) {
    return work + static_cast<size_t>(offset / element) * work_element;
  };

  RUEDA_RETURN_IF_ERROR(
      ForEachChunk(links_, buffers.inputs, [&](const uint8_t* at, int64_t offset, int64_t bytes) {
        LoadElements(bucket, at, work_at(offset), bytes / element);
      }));
  if (!alone()) {
    ::gloo::AllreduceOptions options(context_);
    options.setAlgorithm(work_bytes <= kBcubeBytes ? ::gloo::AllreduceOptions::Algorithm::BCUBE
                                                   : ::gloo::AllreduceOptions::Algorithm::RING);
    SetOutput(options, work, static_cast<size_t>(count), work_element);
    options.setMaxSegmentSize(kRingSegmentBytes);
    options.setReduceFunction(AdderOf(bucket));
    options.setTag(tag_);
    ::gloo::allreduce(options);
  }
  return ForEachChunk(links_, buffers.outputs, [&](uint8_t* at, int64_t offset, int64_t bytes) {
    StoreElements(bucket, work_at(offset), at, bytes / element);
  });
}

Status GlooCollectives::Allgather(const Bucket& bucket, const BucketBuffers& buffers) {
  const size_t element = SizeOf(bucket.dtype);
  std::vector<size_t> bytes;  // by rank
  for (const int64_t count : bucket.counts) bytes.push_back(static_cast<size_t>(count) * element);
  const auto own = bytes.begin() + links_.topology().rank;
  const size_t total = std::accumulate(bytes.begin(), bytes.end(), size_t{0});
  RUEDA_RETURN_IF_ERROR(CheckBytes("inputs", buffers.inputs, static_cast<int64_t>(*own)));
  RUEDA_RETURN_IF_ERROR(CheckBytes("outputs", buffers.outputs, static_cast<int64_t>(total)));
  if (total == 0) return Status::Ok();
  if (buffers.outputs.size() != 1) {
    return {StatusCode::kInvalidArgument, "an allgather has one output, in rank order"};
  }
  auto* const result = static_cast<uint8_t*>(buffers.outputs[0].data);
  RUEDA_RETURN_IF_ERROR(
      Gather(links_, buffers.inputs, result + std::accumulate(bytes.begin(), own, size_t{0})));
  if (alone()) return Status::Ok();
  ::gloo::AllgathervOptions options(context_);
  options.setOutput(result, std::move(bytes));
  options.setTag(tag_);
  ::gloo::allgatherv(options);
  return Status::Ok();
}

Status GlooCollectives::Broadcast(const Bucket& bucket, const BucketBuffers& buffers) {
  const auto bytes = bucket.counts.at(0) * static_cast<int64_t>(SizeOf(bucket.dtype));
  const bool is_root = links_.topology().rank == bucket.root;
  RUEDA_RETURN_IF_ERROR(CheckBytes("outputs", buffers.outputs, bytes));
  if (is_root) RUEDA_RETURN_IF_ERROR(CheckBytes("inputs", buffers.inputs, bytes));
  if (bytes == 0) return Status::Ok();
  auto* const work = buffers.outputs.size() == 1 ? static_cast<uint8_t*>(buffers.outputs[0].data)
                                                 : Scratch(static_cast<size_t>(bytes));
  if (is_root) RUEDA_RETURN_IF_ERROR(Gather(links_, buffers.inputs, work));
  if (!alone()) {
    ::gloo::BroadcastOptions options(context_);
    options.setOutput(work, static_cast<size_t>(bytes));
    options.setRoot(bucket.root);
    options.setTag(tag_);
    ::gloo::broadcast(options);
  }
  return Scatter(links_, work, buffers.outputs);
}

void GlooCollectives::Barrier() {
  if (alone()) return;
  ::gloo::BarrierOptions options(context_);
  options.setTag(tag_);
  ::gloo::barrier(options);
}

uint8_t* GlooCollectives::Scratch(size_t bytes) {
  if (bytes > scratch_bytes_) {
    scratch_.reset();  // first, so that the old and the new one are never there together
    scratch_bytes_ = 0;
    scratch_ = std::make_unique_for_overwrite<uint8_t[]>(bytes);
    scratch_bytes_ = bytes;
  }
  return scratch_.get();
}

}  // namespace rueda::backends
