// Arena: sealed files, the heap of a rank's own arena, and what is left of it when it is severed.
#include "transport/arena.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

namespace rueda::transport {
namespace {

constexpr int64_t kBytes = int64_t{32} << 20;

// An arena of one rank, its heap, and the mapping of a peer.
struct Arena {
  explicit Arena(int rank = 1, int size = 4, int64_t bytes = kBytes)
      : layout(ArenaLayout::For(rank, size, bytes)) {
    const UniqueFd file = CreateArenaFile(bytes).value();
    own = ArenaMapping::Map(file).value();
    peer = ArenaMapping::Map(file).value();
    heap = std::make_shared<ArenaHeap>(own, layout, rank);
  }
  uint8_t* AsPeerSees(const ArenaBuffer& buffer) const { return peer->base() + buffer.offset(); }

  ArenaLayout layout;
  std::shared_ptr<ArenaMapping> own, peer;
  std::shared_ptr<ArenaHeap> heap;
};

using Buffer = std::shared_ptr<ArenaBuffer>;

bool Holds(const uint8_t* data, int64_t bytes, uint8_t value) {
  return std::all_of(data, data + bytes, [value](uint8_t byte) { return byte == value; });
}

UniqueFd File(unsigned flags, int64_t bytes, int seals) {
  UniqueFd file(::memfd_create("test", flags));
  REQUIRE(file.valid());
  REQUIRE(::ftruncate(file.get(), bytes) == 0);
  if (seals != 0) REQUIRE(::fcntl(file.get(), F_ADD_SEALS, seals) == 0);
  return file;
}

TEST_CASE("an arena file has its size for good and no name", "[arena]") {
  const UniqueFd file = CreateArenaFile(kBytes).value();
  CHECK((::fcntl(file.get(), F_GETFD) & FD_CLOEXEC) != 0);
  struct stat info {};
  REQUIRE(::fstat(file.get(), &info) == 0);
  CHECK(info.st_size == kBytes);
  CHECK(info.st_nlink == 0);
  CHECK(info.st_blocks == 0);  // sparse
  CHECK(::ftruncate(file.get(), kBytes / 2) == -1);
  CHECK(::ftruncate(file.get(), kBytes * 2) == -1);
  CHECK(::fcntl(file.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == -1);
}

TEST_CASE("a file that cannot be as large as asked for says which option to change", "[arena]") {
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const rlimit low{1 << 20, before.rlim_max};
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &low) == 0);
  const auto file = CreateArenaFile(kBytes);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  ::signal(SIGXFSZ, handler);
  REQUIRE(file.status().code() == StatusCode::kSystem);
  CHECK_THAT(file.status().message(), Catch::Contains("RUEDA_ARENA_BYTES"));
}

TEST_CASE("files that a peer could take away are refused", "[arena]") {
  const int seals = GENERATE(0, F_SEAL_SHRINK, F_SEAL_GROW);
  const UniqueFd file = File(MFD_CLOEXEC | MFD_ALLOW_SEALING, kBytes, seals);
  CHECK(ArenaMapping::Map(file).status().code() == StatusCode::kCorrupt);
}

TEST_CASE("files that are no memory of whole pages are refused", "[arena]") {
  const int64_t bytes = GENERATE(0, 1, 4'095, 4'097);
  CAPTURE(bytes);
  const UniqueFd file = File(MFD_CLOEXEC | MFD_ALLOW_SEALING, bytes, F_SEAL_SHRINK | F_SEAL_GROW);
  CHECK(ArenaMapping::Map(file).status().code() == StatusCode::kCorrupt);
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const UniqueFd reader(ends[0]), writer(ends[1]);
  CHECK(ArenaMapping::Map(reader).status().code() == StatusCode::kCorrupt);
  CHECK(ArenaMapping::Map(UniqueFd()).status().code() == StatusCode::kSystem);
}

TEST_CASE("what one rank writes its peers see", "[arena]") {
  Arena arena;
  const Buffer buffer = arena.heap->Allocate(5'000).value();
  std::fill_n(buffer->data(), 5'000, uint8_t{3});
  CHECK(Holds(arena.AsPeerSees(*buffer), 5'000, 3));
  arena.AsPeerSees(*buffer)[4'999] = 4;
  CHECK(buffer->data()[4'999] == 4);
  CHECK(arena.heap->At(buffer->offset()) == buffer->data());
}

TEST_CASE("a full heap says so, and has room again after a free", "[arena]") {
  Arena arena(3, 4, SmallestArena(4));
  const int64_t room = arena.layout.heap_end - arena.layout.heap;
  REQUIRE(room == 16 * kPageBytes);
  const int64_t largest = room - arena.layout.skew_in_page;
  const auto too_much = arena.heap->Allocate(largest + 1);
  REQUIRE(too_much.status().code() == StatusCode::kSystem);
  CHECK_THAT(too_much.status().message(),
             Catch::Contains("rank 3") && Catch::Contains("RUEDA_ARENA_BYTES"));
  Buffer all = arena.heap->Allocate(largest).value();
  CHECK(arena.heap->Allocate(1).status().code() == StatusCode::kSystem);
  all.reset();
  CHECK(arena.heap->Allocate(largest).ok());
}

TEST_CASE("sizes that nothing can have are refused", "[arena]") {
  const int64_t bytes =
      GENERATE(std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::max() - 4'096,
               std::numeric_limits<int64_t>::min(), int64_t{-1});
  CAPTURE(bytes);
  Arena arena;
  CHECK_FALSE(arena.heap->Allocate(bytes).ok());
}

TEST_CASE("an arena without room for a heap allocates nothing", "[arena]") {
  Arena arena(1, 4, kPageBytes * 8);
  CHECK_FALSE(arena.heap->Allocate(1).ok());
  CHECK_FALSE(arena.heap->Allocate(0).ok());
}

TEST_CASE("severed buffers keep their values and are nobody else's", "[arena]") {
  Arena arena;
  std::vector<Buffer> buffers;
  for (int i = 0; i < 6; ++i) {
    const int64_t bytes = (i % 3) * 40'000;
    buffers.push_back(arena.heap->Allocate(bytes).value());
    std::fill_n(buffers.back()->data(), bytes, static_cast<uint8_t>(i + 1));
  }
  buffers.erase(buffers.begin() + 1);  // a hole
  arena.heap->Sever();
  for (const Buffer& buffer : buffers) {
    const uint8_t value = buffer->bytes() > 0 ? buffer->data()[0] : uint8_t{0};
    CHECK((buffer->bytes() == 0 || value > 0));
    std::fill_n(arena.AsPeerSees(*buffer), buffer->bytes(), uint8_t{99});
    CHECK(Holds(buffer->data(), buffer->bytes(), value));
  }
  for (const Buffer& buffer : buffers) {
    std::fill_n(buffer->data(), buffer->bytes(), uint8_t{50});
    CHECK(Holds(arena.AsPeerSees(*buffer), buffer->bytes(), 99));
  }
}

TEST_CASE("a severed arena is empty memory outside its buffers", "[arena]") {
  Arena arena;
  arena.own->base()[100] = 7;
  arena.own->base()[arena.layout.staging] = 7;
  arena.heap->Sever();
  CHECK(Holds(arena.own->base(), arena.own->bytes(), 0));
  arena.peer->base()[100] = 8;
  CHECK(arena.own->base()[100] == 0);
}

TEST_CASE("a severed heap allocates nothing, frees, and may be severed again", "[arena]") {
  Arena arena;
  Buffer first = arena.heap->Allocate(10'000).value();
  const Buffer second = arena.heap->Allocate(10'000).value();
  std::fill_n(second->data(), 10'000, uint8_t{5});
  arena.heap->Sever();
  CHECK(arena.heap->Allocate(1).status().code() == StatusCode::kShutDown);
  first.reset();
  arena.heap->Sever();
  CHECK(Holds(second->data(), 10'000, 5));
}

TEST_CASE("a buffer keeps its arena mapped, whoever else is gone", "[arena]") {
  Buffer buffer;
  {
    Arena arena;
    buffer = arena.heap->Allocate(1'000).value();
    std::fill_n(buffer->data(), 1'000, uint8_t{6});
  }
  CHECK(Holds(buffer->data(), 1'000, 6));
}

}  // namespace
}  // namespace rueda::transport
