#include "backends/gloo/plugin/direct_collectives.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "backends/gloo/plugin/bucket_pieces.h"
#include "device/reduce.h"

namespace rueda::backends {
namespace {

using collectives::Range;

// Up to here the root adds up everything itself: one round, where shared slices need two.
constexpr int64_t kRootAloneBytes = 65536;
constexpr int64_t kCacheLine = 64;  // also a multiple of every element size

// Slots of Gloo's own algorithms begin with bytes from 1 up (gloo/types.h); the tag lies as there.
uint64_t SlotOf(uint32_t tag, uint64_t round) {
  return uint64_t{0x40} << 56 | uint64_t{tag} << 24 | round;
}

// Transfers of one exchange; forgotten by the links when it fails half-way.
class Posted {
 public:
  explicit Posted(PeerLinks& links) : links_(links) {}
  ~Posted() { links_.Discard(&finished_); }
  Posted(const Posted&) = delete;
  Posted& operator=(const Posted&) = delete;

  Completions* finished() { return &finished_; }
  Status WaitForAll(size_t count) {
    while (count > 0) {
      RUEDA_RETURN_IF_ERROR(links_.Wait(finished_));
      count -= finished_.size();
      finished_.clear();
    }
    return Status::Ok();
  }

 private:
  PeerLinks& links_;
  Completions finished_;
};

int64_t Sum(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

int64_t RoundUp(int64_t bytes) { return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine; }

// One after another, in bytes: of the elements that `pair` names by (from, to) for each member.
template <typename Pair>
std::vector<Range> PartsOfMatrix(const Bucket& bucket, int size, Pair&& pair) {
  std::vector<Range> parts;
  for (int member = 0; member < size; ++member) {
    const auto [from, to] = pair(member);
    const int64_t begin = parts.empty() ? 0 : parts.back().end;
    const int64_t count = bucket.counts.at(static_cast<size_t>(from * size + to));
    parts.push_back({begin, begin + count * static_cast<int64_t>(SizeOf(bucket.dtype))});
  }
  return parts;
}

uint8_t* DataOf(const std::vector<TensorView>& pieces) {
  return pieces.empty() ? nullptr : static_cast<uint8_t*>(pieces.front().data);
}

}  // namespace

Status DirectCollectives::Exchange(uint64_t slot, std::span<const Message> sends,
                                   std::span<const Message> receives) {
  Posted posted(group_.links());
  size_t count = 0;
  const auto transfer = [&](const Message& message) {
    ++count;
    return Transfer{.slot = slot,
                    .data = message.data,
                    .bytes = static_cast<size_t>(message.bytes),
                    .finished = posted.finished()};
  };
  for (const Message& message : receives) {
    if (message.bytes == 0) continue;
    RUEDA_RETURN_IF_ERROR(group_.PostReceive(message.member, transfer(message)));
  }
  for (const Message& message : sends) {
    if (message.bytes == 0) continue;
    RUEDA_RETURN_IF_ERROR(group_.PostSend(message.member, transfer(message)));
  }
  return posted.WaitForAll(count);
}

Status DirectCollectives::Alltoall(uint32_t tag, const Bucket& bucket,
                                   const BucketBuffers& buffers) {
  const int own = group_.place();
  const Parts from =
      PartsOfMatrix(bucket, group_.size(), [own](int member) { return std::pair(own, member); });
  const Parts to =
      PartsOfMatrix(bucket, group_.size(), [own](int member) { return std::pair(member, own); });
  RUEDA_RETURN_IF_ERROR(CheckBytes("inputs", buffers.inputs, from.back().end));
  RUEDA_RETURN_IF_ERROR(CheckBytes("outputs", buffers.outputs, to.back().end));
  if (buffers.inputs.size() > 1 || buffers.outputs.size() > 1) {
    return {StatusCode::kInvalidArgument, "an alltoall has one input and one output"};
  }
  uint8_t* const input = DataOf(buffers.inputs);
  uint8_t* const output = DataOf(buffers.outputs);
  std::vector<Message> sends, receives;
  for (int member = 0; member < group_.size(); ++member) {
    const Range& out = from[static_cast<size_t>(member)];
    const Range& in = to[static_cast<size_t>(member)];
    if (member == own) {
      const TensorView part{input + out.begin, out.size(), DType::kUInt8};
      RUEDA_RETURN_IF_ERROR(CopyToRow(group_.links(), {&part, 1}, output + in.begin));
    } else {
      sends.push_back({member, input + out.begin, out.size()});
      receives.push_back({member, output + in.begin, in.size()});
    }
  }
  return Exchange(SlotOf(tag, 0), sends, receives);
}

Status DirectCollectives::Reducescatter(uint32_t tag, const Bucket& bucket,
                                        const BucketBuffers& buffers) {
  if (bucket.IsAbsent(group_.place())) return Status::Ok();
  const auto element = static_cast<int64_t>(SizeOf(bucket.dtype));
  Parts parts;
  for (const int64_t count : bucket.counts) {
    const int64_t begin = parts.empty() ? 0 : parts.back().end;
    parts.push_back({begin, begin + count * element});
  }
  RUEDA_RETURN_IF_ERROR(CheckBytes("inputs", buffers.inputs, Sum(bucket.counts) * element));
  RUEDA_RETURN_IF_ERROR(CheckBytes("outputs", buffers.outputs, OwnOf(parts).size()));
  if (buffers.inputs.size() > 1 || buffers.outputs.size() > 1) {
    return {StatusCode::kInvalidArgument, "a reducescatter has one input and one output"};
  }
  // Nobody wants the part of a member that is not there.
  for (const int absent : bucket.absent) parts[static_cast<size_t>(absent)] = {};
  return ReduceParts(SlotOf(tag, 0), bucket, parts, DataOf(buffers.inputs),
                     scratch_.Get(static_cast<size_t>(ReceivedBytes(parts))),
                     DataOf(buffers.outputs));
}

Status DirectCollectives::Reduce(uint32_t tag, const Bucket& bucket, const BucketBuffers& buffers) {
  if (bucket.IsAbsent(group_.place())) return Status::Ok();
  const int64_t bytes = bucket.counts.at(0) * static_cast<int64_t>(SizeOf(bucket.dtype));
  const bool is_root = group_.place() == bucket.root;
  RUEDA_RETURN_IF_ERROR(CheckBytes("inputs", buffers.inputs, bytes));
  RUEDA_RETURN_IF_ERROR(CheckBytes("outputs", buffers.outputs, is_root ? bytes : 0));
  const Parts parts = PartsOfReduce(bucket);
  const Range own = OwnOf(parts);
  // One input, and the root's one output, are worked on where they lie; others in scratch rows.
  const bool packs = buffers.inputs.size() != 1;
  const bool unpacks = !is_root || buffers.outputs.size() != 1;
  const int64_t row_at = ReceivedBytes(parts);
  const int64_t result_at = row_at + (packs ? RoundUp(bytes) : 0);
  const int64_t result_bytes = is_root ? bytes : own.size();
  uint8_t* const scratch =
      scratch_.Get(static_cast<size_t>(result_at + (unpacks ? result_bytes : 0)));
  uint8_t* const row = packs ? scratch + row_at : DataOf(buffers.inputs);
  uint8_t* const result = unpacks ? scratch + result_at : DataOf(buffers.outputs);
  if (packs) RUEDA_RETURN_IF_ERROR(CopyToRow(group_.links(), buffers.inputs, row));
  uint8_t* const own_result = is_root ? result + own.begin : result;
  RUEDA_RETURN_IF_ERROR(ReduceParts(SlotOf(tag, 0), bucket, parts, row, scratch, own_result));
  RUEDA_RETURN_IF_ERROR(GatherAtRoot(SlotOf(tag, 1), bucket, parts, result));
  return is_root ? CopyFromRow(group_.links(), result, buffers.outputs) : Status::Ok();
}

Status DirectCollectives::GatherAtRoot(uint64_t slot, const Bucket& bucket, const Parts& parts,
                                       uint8_t* result) {
  if (group_.place() != bucket.root) {
    const Message send{bucket.root, result, OwnOf(parts).size()};
    return Exchange(slot, {&send, 1}, {});
  }
  std::vector<Message> receives;
  for (int member = 0; member < group_.size(); ++member) {
    const Range& part = parts[static_cast<size_t>(member)];
    if (member != bucket.root) receives.push_back({member, result + part.begin, part.size()});
  }
  return Exchange(slot, {}, receives);
}

DirectCollectives::Parts DirectCollectives::PartsOfReduce(const Bucket& bucket) const {
  const int64_t bytes = bucket.counts.at(0) * static_cast<int64_t>(SizeOf(bucket.dtype));
  const int owners = group_.size() - static_cast<int>(bucket.absent.size());
  Parts parts(static_cast<size_t>(group_.size()));
  if (bytes <= kRootAloneBytes || owners == 2) {
    parts[static_cast<size_t>(bucket.root)] = {0, bytes};
    return parts;
  }
  for (int member = 0, owner = 0; member < group_.size(); ++member) {
    if (bucket.IsAbsent(member)) continue;
    parts[static_cast<size_t>(member)] = collectives::SliceOf(bytes, owners, owner++, kCacheLine);
  }
  return parts;
}

int64_t DirectCollectives::ReceivedBytes(const Parts& parts) const {
  return RoundUp(OwnOf(parts).size() * group_.size() + kChunkBytes);
}

const Range& DirectCollectives::OwnOf(const Parts& parts) const {
  return parts.at(static_cast<size_t>(group_.place()));
}

Status DirectCollectives::ReduceParts(uint64_t slot, const Bucket& bucket, const Parts& parts,
                                      uint8_t* row, uint8_t* received, uint8_t* result) {
  const Range own = OwnOf(parts);
  const bool left_out = bucket.op != ReduceOp::kSum && bucket.op != ReduceOp::kAverage;
  uint8_t* const zeros = received + own.size() * group_.size();
  std::vector<Message> sends, receives;
  std::vector<const uint8_t*> contributions;  // null: zeros
  for (int member = 0; member < group_.size(); ++member) {
    if (bucket.IsAbsent(member)) {
      if (!left_out) contributions.push_back(nullptr);
      continue;
    }
    if (member == group_.place()) {
      contributions.push_back(row + own.begin);
      continue;
    }
    const Range& part = parts[static_cast<size_t>(member)];
    sends.push_back({member, row + part.begin, part.size()});
    receives.push_back({member, received + own.size() * member, own.size()});
    contributions.push_back(receives.back().data);
  }
  RUEDA_RETURN_IF_ERROR(Exchange(slot, sends, receives));
  return AddUp(bucket, contributions, zeros, result, own.size());
}

Status DirectCollectives::AddUp(const Bucket& bucket, std::span<const uint8_t* const> contributions,
                                uint8_t* zeros, uint8_t* result, int64_t bytes) const {
  const device::ReduceSpec spec{bucket.dtype, bucket.op, bucket.divisor, bucket.prescale,
                                bucket.postscale};
  const auto element = static_cast<int64_t>(SizeOf(bucket.dtype));
  if (!bucket.absent.empty()) {
    std::memset(zeros, 0, static_cast<size_t>(std::min(bytes, kChunkBytes)));
  }
  std::vector<const void*> sources(contributions.size());
  for (int64_t at = 0; at < bytes; at += kChunkBytes) {
    RUEDA_RETURN_IF_ERROR(group_.links().aborted());
    for (size_t i = 0; i < sources.size(); ++i) {
      sources[i] = contributions[i] == nullptr ? zeros : contributions[i] + at;
    }
    void* const destination = result + at;
    device::Reduce(spec, sources, {&destination, 1}, std::min(bytes - at, kChunkBytes) / element);
  }
  return Status::Ok();
}

}  // namespace rueda::backends
