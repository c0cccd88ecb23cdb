// BackendCase: one bucket of a test, every member's memory for it, and whether the result is right.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend_world.h"
#include "bucket_shape.h"
#include "bucket_values.h"
#include "core/bucket.h"
#include "core/dtype.h"
#include "core/types.h"

namespace rueda::testing {

enum class Memory {
  kApart,   // outputs are other memory than inputs
  kShared,  // each output is its input, where the kind of bucket lets it
  kPlaced,  // shared, and where the backend's own placements say
};

class BackendCase {
 public:
  // `pieces`: elements of each tensor in the bucket, or the bucket's counts for kinds that have
  // one input and one output. The values are drawn from `seed`; every member's differ.
  BackendCase(Bucket bucket, std::vector<int64_t> pieces, Memory memory, uint64_t seed)
      : bucket_(std::move(bucket)),
        pieces_(std::move(pieces)),
        memory_(memory),
        seed_(seed),
        viewed_as_(bucket_.dtype) {
    bucket_.counts = KeepsShape(bucket_.kind) ? std::vector{Total(pieces_)} : pieces_;
    if (!KeepsShape(bucket_.kind)) memory_ = Memory::kApart;
    if (bucket_.kind == OpKind::kBarrier) {
      pieces_.clear();
      bucket_.counts.clear();
    }
  }

  // The tensors are of another element type than the bucket, as complex numbers are that it adds as
  // pairs. Their bytes must divide.
  BackendCase&& ViewedAs(DType dtype) && {
    viewed_as_ = dtype;
    return std::move(*this);
  }

  // Main thread. The world's backends need not exist yet, only their number.
  void Prepare(const BackendWorld& world) {
    members_.assign(static_cast<size_t>(world.size()), {});
    originals_.assign(members_.size(), {});
    if (memory_ == Memory::kPlaced) bucket_.placements.resize(members_.size());
    for (int member = 0; member < world.size(); ++member) PrepareMember(world, member);
  }

  const Bucket& bucket() const { return bucket_; }

  Status Run(BackendWorld& world, int member) const {
    return Described(RunBucket(world, member, bucket_, Of(member).buffers));
  }

  Result<backends::Run*> Begin(BackendWorld& world, int member) const {
    return BeginBucket(world, member, bucket_, Of(member).buffers);
  }

  Status Described(const Status& status) const {
    if (status.ok()) return status;
    return {status.code(), Describe() + ": " + status.message()};
  }

  // "" or the first thing that is wrong. Results that several members get must have the same bits,
  // whatever the order of summation, or parameters would drift apart.
  std::string Verify(bool canonical) const {
    int first = -1;  // of those with a result
    for (int member = 0; member < static_cast<int>(members_.size()); ++member) {
      if (bucket_.IsAbsent(member)) continue;
      const std::vector<uint8_t> found = Row(Of(member).buffers.outputs);
      std::string wrong;
      if (bucket_.kind == OpKind::kAllreduce && first >= 0) {
        wrong = found == Row(Of(first).buffers.outputs) ? "" : "has not the bits of another member";
      } else if (Reduces(bucket_.kind)) {
        wrong = WrongReduction(bucket_, originals_, FirstOut(bucket_, member), found, canonical);
      } else {
        wrong = Difference(found, MovedTo(bucket_, member, originals_));
      }
      if (first < 0) first = member;
      if (wrong.empty() && InputsWereWritten(member)) wrong = "the inputs were written";
      if (!wrong.empty()) return Describe() + ", member " + std::to_string(member) + ": " + wrong;
    }
    return "";
  }

  std::string Describe() const {
    std::string text = std::string(NameOf(bucket_.kind)) + " " + std::string(NameOf(bucket_.op)) +
                       " " + std::string(NameOf(bucket_.dtype)) + " [";
    for (const int64_t piece : pieces_) text += " " + std::to_string(piece);
    text += " ] root " + std::to_string(bucket_.root) + " absent [";
    for (const int member : bucket_.absent) text += " " + std::to_string(member);
    return text + " ] seed " + std::to_string(seed_) + " memory " +
           std::to_string(static_cast<int>(memory_)) + " set " +
           std::to_string(bucket_.process_set) + " of " + std::to_string(members_.size());
  }

 private:
  struct MemberMemory {
    std::vector<std::shared_ptr<uint8_t>> owners;
    BucketBuffers buffers;
    bool shared = false;  // outputs are inputs
  };

  const MemberMemory& Of(int member) const { return members_[static_cast<size_t>(member)]; }

  static std::vector<uint8_t> Row(const std::vector<TensorView>& views) {
    std::vector<uint8_t> row;
    for (const TensorView& view : views) {
      const auto* data = static_cast<const uint8_t*>(view.data);
      row.insert(row.end(), data, data + view.bytes());
    }
    return row;
  }

  bool InputsWereWritten(int member) const {
    if (Of(member).shared) return false;
    const uint8_t* original = originals_[static_cast<size_t>(member)].data();
    for (const TensorView& view : Of(member).buffers.inputs) {
      if (view.bytes() > 0 && std::memcmp(view.data, original, view.bytes()) != 0) return true;
      original += view.bytes();
    }
    return false;
  }

  // Tensors start anywhere in memory: one element into an allocation. What is never written stays
  // wrong.
  TensorView Allocate(MemberMemory& memory, int64_t count) const {
    const size_t element = SizeOf(bucket_.dtype);
    const size_t bytes = static_cast<size_t>(count + 1) * element;
    memory.owners.emplace_back(new uint8_t[bytes], std::default_delete<uint8_t[]>());
    std::memset(memory.owners.back().get(), 0xa5, bytes);
    return View(memory.owners.back().get() + element, count);
  }

  // Of `count` elements of the bucket.
  TensorView View(uint8_t* data, int64_t count) const {
    const int64_t bytes = count * static_cast<int64_t>(SizeOf(bucket_.dtype));
    return {data, bytes / static_cast<int64_t>(SizeOf(viewed_as_)), viewed_as_};
  }

  void PrepareMember(const BackendWorld& world, int member) {
    if (bucket_.IsAbsent(member)) return;
    MemberMemory& memory = members_[static_cast<size_t>(member)];
    const int64_t count_in = CountIn(bucket_, world.size(), member);
    const int64_t count_out = CountOut(bucket_, world.size(), member);
    if (memory_ == Memory::kPlaced) {
      Place(world, member, count_in);
    } else if (bucket_.kind != OpKind::kBarrier) {
      const std::vector<int64_t> inputs =
          KeepsShape(bucket_.kind) ? pieces_ : std::vector{count_in};
      for (const int64_t count : inputs) memory.buffers.inputs.push_back(Allocate(memory, count));
    }
    std::vector<uint8_t>& original = originals_[static_cast<size_t>(member)];
    original = DrawElements(bucket_, seed_ * 1000 + static_cast<uint64_t>(member), count_in);
    const uint8_t* from = original.data();
    for (const TensorView& view : memory.buffers.inputs) {
      std::copy_n(from, view.bytes(), static_cast<uint8_t*>(view.data));
      from += view.bytes();
    }
    const bool gets_nothing = bucket_.kind == OpKind::kReduce && member != bucket_.root;
    if (bucket_.kind == OpKind::kBarrier || gets_nothing) return;
    memory.shared = memory_ != Memory::kApart;
    if (memory.shared) {
      memory.buffers.outputs = memory.buffers.inputs;
    } else {
      const std::vector<int64_t> outputs =
          KeepsShape(bucket_.kind) ? pieces_ : std::vector{count_out};
      for (const int64_t count : outputs) memory.buffers.outputs.push_back(Allocate(memory, count));
    }
  }

  void Place(const BackendWorld& world, int member, int64_t count) {
    MemberMemory& memory = members_[static_cast<size_t>(member)];
    PlacedMemory placed = world.place(member, count * static_cast<int64_t>(SizeOf(bucket_.dtype)));
    bucket_.placements[static_cast<size_t>(member)] = placed.offset;
    memory.buffers.inputs = {View(placed.data.get(), count)};
    memory.owners.push_back(std::move(placed.data));
  }

  Bucket bucket_;
  std::vector<int64_t> pieces_;
  Memory memory_;
  uint64_t seed_;
  DType viewed_as_;
  std::vector<MemberMemory> members_;
  std::vector<std::vector<uint8_t>> originals_;  // what the inputs of each held, as one row
};

inline void PrepareAll(const BackendWorld& world, std::vector<BackendCase>& cases) {
  for (BackendCase& one : cases) one.Prepare(world);
}

inline std::string VerifyAll(const BackendFixture& fixture, const std::vector<BackendCase>& cases) {
  for (const BackendCase& one : cases) {
    const std::string wrong = one.Verify(fixture.canonical);
    if (!wrong.empty()) return wrong;
  }
  return "";
}

// Runs the cases one after another on every rank, without a pause between them; "" if all are
// right.
inline std::string RunCases(const BackendFixture& fixture, BackendWorld& world,
                            std::vector<BackendCase>& cases) {
  PrepareAll(world, cases);
  const std::string failure = FirstFailure(OnEachRank(world.size(), [&](int rank) {
    for (const BackendCase& one : cases) RUEDA_RETURN_IF_ERROR(one.Run(world, rank));
    return Status::Ok();
  }));
  return failure.empty() ? VerifyAll(fixture, cases) : failure;
}

}  // namespace rueda::testing
