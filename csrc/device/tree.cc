#include "device/tree.h"

#include <bit>
#include <cstring>

namespace rueda::device {
namespace {

constexpr int kLevels = 20;  // 4 * 2^20 sources: more ranks than there are
constexpr int kVectorAlignment = 64;

struct Levels {
  alignas(kVectorAlignment) char bytes[kLevels * kBlockBytes * kMaxWidening];
};

// Padded and scaled copies, for the last bytes of a tensor and for scaled integers.
struct Scratch {
  alignas(kVectorAlignment) char inputs[kGroup][kBlockBytes];
  alignas(kVectorAlignment) char result[kBlockBytes];
};

class Tree {
 public:
  Tree(const Loops& loops, int64_t vector_bytes, const TreeArgs& args)
      : loops_(loops),
        vector_bytes_(vector_bytes),
        vector_shift_(std::countr_zero(static_cast<uint64_t>(vector_bytes))),
        args_(args) {}

  // All bytes that fill vectors are read and written where they lie, the others in scratch.
  void Run() {
    const bool copies = args_.scale_inputs != nullptr || args_.scale_result != nullptr;
    const int64_t in_place = copies ? 0 : args_.bytes & -vector_bytes_;
    if (args_.source_count > kGroup) {
      RunWithLevels(in_place);
      return;
    }
    if (in_place > 0) ReduceInPlace(0, in_place, nullptr);
    if (in_place < args_.bytes) RunThroughScratch(in_place, nullptr);
  }

 private:
  void RunWithLevels(int64_t in_place) {
    Levels levels;
    for (int64_t offset = 0; offset < in_place; offset += kBlockBytes) {
      ReduceInPlace(offset, BlockAt(offset, in_place), levels.bytes);
    }
    if (in_place < args_.bytes) RunThroughScratch(in_place, levels.bytes);
  }

  void RunThroughScratch(int64_t begin, char* levels) {
    Scratch scratch;
    for (int64_t offset = begin; offset < args_.bytes; offset += kBlockBytes) {
      ReduceThroughScratch(offset, BlockAt(offset, args_.bytes), levels, &scratch);
    }
  }

  static int64_t BlockAt(int64_t offset, int64_t end) {
    return end - offset < kBlockBytes ? end - offset : kBlockBytes;
  }

  void ReduceInPlace(int64_t offset, int64_t bytes, char* levels) const {
    Pass pass = PassOver(bytes, levels);
    int first = 0;
    for (; args_.source_count - first > kGroup; first += kGroup) {
      PointAtSources(first, kGroup, offset, &pass);
      loops_.push(pass);
      ++pass.full;
    }
    const int last = args_.source_count - first;
    PointAtSources(first, last, offset, &pass);
    pass.outputs = args_.destinations;
    pass.output_count = args_.destination_count;
    pass.output_offset = offset;
    Finish(last, pass);
  }

  void ReduceThroughScratch(int64_t offset, int64_t bytes, char* levels, Scratch* scratch) const {
    Pass pass = PassOver(bytes, levels);
    int first = 0;
    for (; args_.source_count - first > kGroup; first += kGroup) {
      CopySources(first, kGroup, offset, bytes, scratch, &pass);
      loops_.push(pass);
      ++pass.full;
    }
    const int last = args_.source_count - first;
    CopySources(first, last, offset, bytes, scratch, &pass);
    void* const result = scratch->result;
    pass.outputs = &result;
    pass.output_count = 1;
    Finish(last, pass);
    if (args_.scale_result != nullptr) {
      args_.scale_result(result, bytes, args_.divisor, args_.postscale);
    }
    for (int i = 0; i < args_.destination_count; ++i) {
      char* destination = static_cast<char*>(args_.destinations[i]);
      std::memcpy(destination + offset, result, static_cast<size_t>(bytes));
    }
  }

  Pass PassOver(int64_t bytes, char* levels) const {
    Pass pass;
    pass.vectors = (bytes + vector_bytes_ - 1) >> vector_shift_;
    pass.levels = levels;
    pass.prescale = args_.prescale;
    pass.divisor = args_.divisor;
    pass.postscale = args_.postscale;
    return pass;
  }

  const char* Source(int i) const { return static_cast<const char*>(args_.sources[i]); }

  void PointAtSources(int first, int n, int64_t offset, Pass* pass) const {
    for (int i = 0; i < n; ++i) pass->inputs[i] = Source(first + i) + offset;
  }

  // Zeros after the end: no loop traps on them, and what becomes of them is not copied out.
  void CopySources(int first, int n, int64_t offset, int64_t bytes, Scratch* scratch,
                   Pass* pass) const {
    const int64_t padding = pass->vectors * vector_bytes_ - bytes;
    for (int i = 0; i < n; ++i) {
      char* copy = scratch->inputs[i];
      std::memcpy(copy, Source(first + i) + offset, static_cast<size_t>(bytes));
      std::memset(copy + bytes, 0, static_cast<size_t>(padding));
      if (args_.scale_inputs != nullptr) args_.scale_inputs(copy, bytes, 1.0, args_.prescale);
      pass->inputs[i] = copy;
    }
  }

  void Finish(int n, const Pass& pass) const {
    Loop loop = nullptr;
    if (pass.full == 0 && pass.output_count == 1) loop = loops_.finish_one[n - 1];
    if (pass.full == 0 && pass.output_count == 2) loop = loops_.finish_two[n - 1];
    if (pass.full == 0 && pass.output_count == n) loop = loops_.finish_all[n - 1];
    if (loop == nullptr) loop = loops_.finish[n - 1];
    loop(pass);
  }

  const Loops& loops_;
  // A power of two: shifted by instead of divided by, because small pieces are many.
  const int64_t vector_bytes_;
  const int vector_shift_;
  const TreeArgs& args_;
};

}  // namespace

void ReduceTree(const Loops& loops, int64_t vector_bytes, const TreeArgs& args) {
  Tree(loops, vector_bytes, args).Run();
}

}  // namespace rueda::device
