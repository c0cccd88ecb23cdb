#include "backends/gloo/plugin/gloo_collectives.h"

#include <gloo/allgatherv.h>
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>

#include <exception>
#include <new>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "backends/gloo/plugin/bucket_pieces.h"
#include "backends/gloo/plugin/gloo_reduce.h"

namespace rueda::backends {
namespace {

// Up to here the number of messages matters more than that they overlap with the adding: bcube
// needs 2 log2(n) rounds where the ring needs 2 (n - 1).
constexpr size_t kBcubeBytes = 65536;
// The ring's unit, of which two are under way. Gloo's own megabyte falls out of a core's cache
// before it is added: over TCP 64 MiB took 52 ms of processor time with it, 46 ms with this (two
// ranks).
constexpr size_t kRingSegmentBytes = 262144;
// Bits of a tag that count buckets; those above are the process set's. Both wrap around: the tag
// is checked against the one that is due, never searched for.
constexpr int kCountBits = 20;

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

GlooCollectives::GlooCollectives(const LinkGroup& group, Scratch& scratch)
    : group_(group),
      links_(group.links()),
      scratch_(scratch),
      direct_(group, scratch),
      context_(std::make_shared<LinkContext>(group)) {}

Status GlooCollectives::Run(const Bucket& bucket, const BucketBuffers& buffers) {
  ++buckets_;
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
  const bool absent = bucket.IsAbsent(group_.place());
  if (absent) {
    RUEDA_RETURN_IF_ERROR(CheckBytes("inputs", buffers.inputs, 0));
    RUEDA_RETURN_IF_ERROR(CheckBytes("outputs", buffers.outputs, 0));
  }
  switch (bucket.kind) {
    case OpKind::kAllreduce:
      return absent ? AllreduceAbsent(bucket) : Allreduce(bucket, buffers);
    case OpKind::kAllgather:
      return Allgather(bucket, buffers);
    case OpKind::kBroadcast:
      return Broadcast(bucket, buffers);
    case OpKind::kBarrier:
      Barrier();
      return Status::Ok();
    case OpKind::kReducescatter:
      return direct_.Reducescatter(Tag(), bucket, buffers);
    case OpKind::kAlltoall:
      return direct_.Alltoall(Tag(), bucket, buffers);
    case OpKind::kReduce:
      return direct_.Reduce(Tag(), bucket, buffers);
    default:
      return {StatusCode::kUnsupported, "unknown operation"};
  }
}

uint32_t GlooCollectives::Tag() const {
  return group_.process_set() << kCountBits | (buckets_ & ((1U << kCountBits) - 1));
}

Status GlooCollectives::Allreduce(const Bucket& bucket, const BucketBuffers& buffers) {
  const int64_t count = bucket.counts.at(0);
  const auto element = static_cast<int64_t>(SizeOf(bucket.dtype));
  RUEDA_RETURN_IF_ERROR(CheckBytes("inputs", buffers.inputs, count * element));
  RUEDA_RETURN_IF_ERROR(CheckBytes("outputs", buffers.outputs, count * element));
  if (count == 0) return Status::Ok();
  const size_t work_element = SizeOf(AccumulatorOf(bucket.dtype));
  // One output that holds accumulators is worked on where it lies.
  const bool in_output = buffers.outputs.size() == 1 && AccumulatorOf(bucket.dtype) == bucket.dtype;
  auto* const work = in_output ? static_cast<uint8_t*>(buffers.outputs[0].data)
                               : scratch_.Get(static_cast<size_t>(count) * work_element);
  const auto work_at = [&](int64_t offset) {
    return work + static_cast<size_t>(offset / element) * work_element;
  };

  int64_t copied = 0;
  {
    const CopyWatch watch(links_.copies(), CopyWay::kIn, &copied);
    RUEDA_RETURN_IF_ERROR(
        ForEachChunk(links_, buffers.inputs, [&](const uint8_t* at, int64_t offset, int64_t bytes) {
          LoadElements(bucket, at, work_at(offset), bytes / element);
          if (work_at(offset) != at) copied += bytes;
        }));
  }
  AddUp(bucket, work);
  const CopyWatch watch(links_.copies(), CopyWay::kOut, &copied);
  return ForEachChunk(links_, buffers.outputs, [&](uint8_t* at, int64_t offset, int64_t bytes) {
    StoreElements(bucket, work_at(offset), at, bytes / element);
    if (work_at(offset) != at) copied += bytes;
  });
}

Status GlooCollectives::AllreduceAbsent(const Bucket& bucket) {
  const int64_t count = bucket.counts.at(0);
  if (count == 0) return Status::Ok();
  const DType accumulator = AccumulatorOf(bucket.dtype);
  uint8_t* const work = scratch_.Get(static_cast<size_t>(count) * SizeOf(accumulator));
  const TensorView row{work, count, accumulator};
  RUEDA_RETURN_IF_ERROR(ForEachChunk(links_, {&row, 1}, [&](uint8_t* at, int64_t, int64_t bytes) {
    FillIdentity(bucket, at, bytes / static_cast<int64_t>(SizeOf(accumulator)));
  }));
  AddUp(bucket, work);
  return Status::Ok();
}

void GlooCollectives::AddUp(const Bucket& bucket, void* accumulators) {
  if (alone()) return;
  const auto count = static_cast<size_t>(bucket.counts.at(0));
  const size_t element = SizeOf(AccumulatorOf(bucket.dtype));
  ::gloo::AllreduceOptions options(context_);
  options.setAlgorithm(count * element <= kBcubeBytes ? ::gloo::AllreduceOptions::Algorithm::BCUBE
                                                      : ::gloo::AllreduceOptions::Algorithm::RING);
  SetOutput(options, accumulators, count, element);
  options.setMaxSegmentSize(kRingSegmentBytes);
  options.setReduceFunction(AdderOf(bucket));
  options.setTag(Tag());
  ::gloo::allreduce(options);
}

Status GlooCollectives::Allgather(const Bucket& bucket, const BucketBuffers& buffers) {
  const size_t element = SizeOf(bucket.dtype);
  std::vector<size_t> bytes;  // by member
  for (const int64_t count : bucket.counts) bytes.push_back(static_cast<size_t>(count) * element);
  const auto own = bytes.begin() + group_.place();
  const size_t total = std::accumulate(bytes.begin(), bytes.end(), size_t{0});
  const bool absent = bucket.IsAbsent(group_.place());
  RUEDA_RETURN_IF_ERROR(CheckBytes("inputs", buffers.inputs, static_cast<int64_t>(*own)));
  if (!absent) {
    RUEDA_RETURN_IF_ERROR(CheckBytes("outputs", buffers.outputs, static_cast<int64_t>(total)));
  }
  if (total == 0) return Status::Ok();
  if (!absent && buffers.outputs.size() != 1) {
    return {StatusCode::kInvalidArgument, "an allgather has one output, in member order"};
  }
  uint8_t* const result =
      absent ? scratch_.Get(total) : static_cast<uint8_t*>(buffers.outputs[0].data);
  RUEDA_RETURN_IF_ERROR(
      CopyToRow(links_, buffers.inputs, result + std::accumulate(bytes.begin(), own, size_t{0})));
  if (alone()) return Status::Ok();
  ::gloo::AllgathervOptions options(context_);
  options.setOutput(result, std::move(bytes));
  options.setTag(Tag());
  ::gloo::allgatherv(options);
  return Status::Ok();
}

Status GlooCollectives::Broadcast(const Bucket& bucket, const BucketBuffers& buffers) {
  const auto bytes = bucket.counts.at(0) * static_cast<int64_t>(SizeOf(bucket.dtype));
  const bool is_root = group_.place() == bucket.root;
  if (!bucket.IsAbsent(group_.place())) {
    RUEDA_RETURN_IF_ERROR(CheckBytes("outputs", buffers.outputs, bytes));
  }
  if (is_root) RUEDA_RETURN_IF_ERROR(CheckBytes("inputs", buffers.inputs, bytes));
  if (bytes == 0) return Status::Ok();
  auto* const work = buffers.outputs.size() == 1 ? static_cast<uint8_t*>(buffers.outputs[0].data)
                                                 : scratch_.Get(static_cast<size_t>(bytes));
  if (is_root) RUEDA_RETURN_IF_ERROR(CopyToRow(links_, buffers.inputs, work));
  if (!alone()) {
    ::gloo::BroadcastOptions options(context_);
    options.setOutput(work, static_cast<size_t>(bytes));
    options.setRoot(bucket.root);
    options.setTag(Tag());
    ::gloo::broadcast(options);
  }
  return CopyFromRow(links_, work, buffers.outputs);
}

void GlooCollectives::Barrier() {
  if (alone()) return;
  ::gloo::BarrierOptions options(context_);
  options.setTag(Tag());
  ::gloo::barrier(options);
}

}  // namespace rueda::backends
