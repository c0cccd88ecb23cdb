// ArenaHeap under random programs, from one thread and from several; the arithmetic of the layout.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "deadline.h"
#include "transport/arena.h"
#include "transport/control_page.h"
#include "transport/shm_channel.h"

namespace rueda::transport {
namespace {

using Buffer = std::shared_ptr<ArenaBuffer>;

// What a heap has given out, as its user sees it.
class HeapModel {
 public:
  HeapModel(std::shared_ptr<ArenaHeap> heap, ArenaLayout layout)
      : heap_(std::move(heap)), layout_(layout) {}

  // "" or what is wrong with the next allocation.
  std::string Allocate(int64_t bytes, uint8_t mark) {
    Result<Buffer> allocated = heap_->Allocate(bytes);
    if (!allocated.ok()) {
      ++refused_;
      return allocated.status().code() == StatusCode::kSystem ? "" : "another error";
    }
    Buffer buffer = *allocated;
    const int64_t first = buffer->offset() / kPageBytes;
    const int64_t last = (buffer->offset() + std::max<int64_t>(bytes, 1) - 1) / kPageBytes;
    if (buffer->bytes() != bytes) return "another size";
    if (buffer->offset() < layout_.heap) return "before the heap";
    if (buffer->offset() + bytes > layout_.heap_end) return "behind the heap";
    if (buffer->offset() % kPageBytes != layout_.skew_in_page) return "wrong skew";
    if (buffer->offset() % 64 != 0) return "not on a cache line";
    const auto next = live_.lower_bound(first);
    if (next != live_.end() && next->first <= last) return "shares a page with the next";
    if (next != live_.begin() && std::prev(next)->second.last >= first) {
      return "shares a page with the one before";
    }
    const uint8_t* data = buffer->data();
    if (std::any_of(data, data + bytes, [](uint8_t b) { return b != 0; })) return "not zeroed";
    std::fill_n(buffer->data(), bytes, mark);
    live_.emplace(first, Span{last, mark, std::move(buffer)});
    return "";
  }

  // Frees the n-th of what lives; "" or what is wrong with what it held.
  std::string Free(size_t n) {
    if (live_.empty()) return "";
    const auto victim = std::next(live_.begin(), static_cast<std::ptrdiff_t>(n % live_.size()));
    const std::string wrong = WrongIn(victim->second);
    live_.erase(victim);
    return wrong;
  }

  std::string FreeAll() {
    std::string wrong;
    while (!live_.empty() && wrong.empty()) wrong = Free(0);
    return wrong;
  }

  int refused() const { return refused_; }

 private:
  struct Span {
    int64_t last;
    uint8_t mark;
    Buffer buffer;
  };
  static std::string WrongIn(const Span& span) {
    const uint8_t* data = span.buffer->data();
    const bool same = std::all_of(data, data + span.buffer->bytes(),
                                  [&](uint8_t byte) { return byte == span.mark; });
    return same ? "" : "somebody else wrote into it";
  }

  std::shared_ptr<ArenaHeap> heap_;
  ArenaLayout layout_;
  std::map<int64_t, Span> live_;  // by first page
  int refused_ = 0;
};

struct Heap {
  Heap(int rank, int size, int64_t pages) {
    const int64_t bytes = ArenaLayout::For(rank, size, 0).heap + pages * kPageBytes;
    layout = ArenaLayout::For(rank, size, bytes);
    heap = std::make_shared<ArenaHeap>(ArenaMapping::Map(CreateArenaFile(bytes).value()).value(),
                                       layout, rank);
  }
  ArenaLayout layout;
  std::shared_ptr<ArenaHeap> heap;
};

int64_t RandomBytes(std::mt19937_64& random) {
  constexpr uint64_t kMost[] = {1, 100, 4'097, 30'000, 120'000};
  return static_cast<int64_t>(random() % kMost[random() % std::size(kMost)]);
}

TEST_CASE("spans never share a page, are zeroed, skewed and intact", "[arena_heap]") {
  const int rank = GENERATE(0, 1, 3);
  const uint64_t seed = GENERATE(1u, 2u, 3u);
  CAPTURE(rank, seed);
  std::mt19937_64 random(seed);
  const Heap heap(rank, 4, 100);
  HeapModel model(heap.heap, heap.layout);
  for (int step = 0; step < 4'000; ++step) {
    const bool allocates = random() % 100 < (step / 500 % 2 == 0 ? 70u : 35u);
    const std::string wrong =
        allocates ? model.Allocate(RandomBytes(random), static_cast<uint8_t>(step | 1))
                  : model.Free(random());
    INFO("step " << step);
    REQUIRE(wrong == "");
  }
  CHECK(model.refused() > 0);  // the heap was full at times
  REQUIRE(model.FreeAll() == "");
  // All holes have become one again.
  const int64_t all = heap.layout.heap_end - heap.layout.heap - heap.layout.skew_in_page;
  CHECK(model.Allocate(all, 1) == "");
  CHECK(model.FreeAll() == "");
}

TEST_CASE("holes of any order become one", "[arena_heap]") {
  std::vector<int> order{0, 1, 2, 3, 4};
  const Heap heap(0, 1, 5);
  do {
    std::vector<Buffer> buffers;
    for (int i = 0; i < 5; ++i) buffers.push_back(heap.heap->Allocate(kPageBytes).value());
    REQUIRE_FALSE(heap.heap->Allocate(1).ok());
    for (const int victim : order) buffers[static_cast<size_t>(victim)].reset();
    REQUIRE(heap.heap->Allocate(5 * kPageBytes).ok());
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("buffers without bytes are apart from all others", "[arena_heap]") {
  const int rank = GENERATE(0, 1);
  Heap heap(rank, 2, 10);
  Buffer empty = heap.heap->Allocate(0).value();
  const Buffer other_empty = heap.heap->Allocate(0).value();
  const Buffer full = heap.heap->Allocate(100).value();
  CHECK(empty->offset() != other_empty->offset());
  CHECK(empty->offset() != full->offset());
  std::fill_n(full->data(), 100, uint8_t{9});
  empty.reset();  // must not take the others with it
  heap.heap->Sever();
  CHECK(full->data()[99] == 9);
}

TEST_CASE("threads allocate and free at the same time", "[arena_heap]") {
  const testing::Deadline deadline("threads on one heap");
  const Heap heap(1, 2, 2'000);
  std::string wrong[4];
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937_64 random(seed);
      HeapModel model(heap.heap, heap.layout);
      for (int step = 0; step < 500 && wrong[seed].empty(); ++step) {
        wrong[seed] = random() % 2 == 0
                          ? model.Allocate(RandomBytes(random), static_cast<uint8_t>(seed + 1))
                          : model.Free(random());
      }
      if (wrong[seed].empty()) wrong[seed] = model.FreeAll();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& one : wrong) CHECK(one == "");
}

TEST_CASE("nothing in an arena overlaps, for any rank", "[arena_layout]") {
  const int size = GENERATE(range(1, 9));
  for (int rank = 0; rank < size; ++rank) {
    CAPTURE(size, rank);
    const auto layout = ArenaLayout::For(rank, size, SmallestArena(size));
    CHECK(layout.control == 0);
    CHECK(layout.rings >= static_cast<int64_t>(sizeof(ControlPage)));
    CHECK(layout.rings % kPageBytes == 0);
    CHECK(layout.ring_stride >= static_cast<int64_t>(sizeof(RingHeader)) + kRingDataBytes);
    CHECK(layout.ring_stride % kPageBytes == 0);
    CHECK(layout.flags == layout.rings + size * layout.ring_stride);
    CHECK(layout.staging >= layout.flags + kPageBytes);
    CHECK(layout.staging % 64 == 0);
    CHECK(layout.heap >= layout.staging + kStagingSlots * kStagingChunkBytes);
    CHECK(layout.heap % kPageBytes == 0);
    CHECK(layout.heap_end >= layout.heap + kPageBytes);
    CHECK(layout.heap_end <= SmallestArena(size));
    CHECK(layout.skew_in_page % 64 == 0);
    CHECK(layout.skew_in_page < kPageBytes);
  }
}

TEST_CASE("inboxes of an arena are apart", "[arena_layout]") {
  constexpr int kSize = 8;
  const auto layout = ArenaLayout::For(2, kSize, SmallestArena(kSize));
  std::vector<uint8_t> memory(static_cast<size_t>(layout.flags));
  for (int from = 0; from < kSize; ++from) {
    const ShmChannel::Ring ring = RingAt(memory.data(), layout, from);
    const auto* header = reinterpret_cast<uint8_t*>(ring.header);
    CHECK(header == memory.data() + layout.rings + from * layout.ring_stride);
    CHECK(ring.data >= header + sizeof(RingHeader));
    CHECK(ring.data + kRingDataBytes == header + layout.ring_stride);
  }
}

TEST_CASE("neighbours' staging and heaps differ in their low address bits", "[arena_layout]") {
  const auto low = [](int64_t offset) { return offset % (int64_t{1} << 20); };
  for (int rank = 1; rank < 8; ++rank) {
    const auto own = ArenaLayout::For(rank, 8, int64_t{1} << 30);
    const auto before = ArenaLayout::For(rank - 1, 8, int64_t{1} << 30);
    CHECK(low(own.staging) != low(before.staging));
    CHECK(own.staging % kPageBytes != before.staging % kPageBytes);
    CHECK(own.skew_in_page != before.skew_in_page);
    CHECK(own.rings == before.rings);  // found by peers without asking
    CHECK(own.flags == before.flags);
  }
}

TEST_CASE("an arena below the smallest has no heap, and sizes are rounded down", "[arena_layout]") {
  const int64_t start = ArenaLayout::For(1, 2, 0).heap;
  CHECK(ArenaLayout::For(1, 2, start - 1).heap_end <= start);
  CHECK(ArenaLayout::For(1, 2, start + kPageBytes + 17).heap_end == start + kPageBytes);
}

}  // namespace
}  // namespace rueda::transport
