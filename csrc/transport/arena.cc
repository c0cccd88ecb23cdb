#include "transport/arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "core/text.h"

namespace rueda::transport {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;

int64_t RoundUpToPages(int64_t bytes) { return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes; }

// Puts private memory with the same bytes at the same address; readers never see a gap.
void ReplaceByPrivateCopy(uint8_t* start, size_t bytes) {
  void* copy = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return;  // no memory: the views stay shared, which is safe if not private
  std::memcpy(copy, start, bytes);
  if (::mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, start) == MAP_FAILED) {
    ::munmap(copy, bytes);
  }
}

void ReplaceByEmptyMemory(uint8_t* start, int64_t bytes) {
  if (bytes == 0) return;
  ::mmap(start, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

}  // namespace

Result<UniqueFd> CreateArenaFile(int64_t bytes) {
  UniqueFd file(::memfd_create("rueda-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.valid()) return SystemError("memfd_create", errno);
  if (::ftruncate(file.get(), bytes) != 0) {
    return SystemError("cannot size the shared memory of this rank to " + FormatBytes(bytes) +
                           " (RUEDA_ARENA_BYTES)",
                       errno);
  }
  if (::fcntl(file.get(), F_ADD_SEALS, kSeals | F_SEAL_SEAL) != 0) {
    return SystemError("cannot seal the shared memory", errno);
  }
  return file;
}

Result<std::shared_ptr<ArenaMapping>> ArenaMapping::Map(const UniqueFd& file) {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return SystemError("fstat of an arena", errno);
  const int seals = ::fcntl(file.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return Status(StatusCode::kCorrupt, "an arena is not sealed: a peer could take it away");
  }
  if (info.st_size <= 0 || info.st_size % kPageBytes != 0) {
    return Status(StatusCode::kCorrupt,
                  "an arena of " + std::to_string(info.st_size) + " bytes is not whole pages");
  }
  void* base = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_NORESERVE, file.get(), 0);
  if (base == MAP_FAILED) {
    return SystemError("cannot map " + FormatBytes(info.st_size) +
                           " of shared memory (lower RUEDA_ARENA_BYTES, or raise ulimit -v)",
                       errno);
  }
  return std::shared_ptr<ArenaMapping>(
      new ArenaMapping(static_cast<uint8_t*>(base), static_cast<int64_t>(info.st_size)));
}

ArenaMapping::~ArenaMapping() { ::munmap(base_, static_cast<size_t>(bytes_)); }

ArenaHeap::ArenaHeap(std::shared_ptr<ArenaMapping> mapping, ArenaLayout layout, int rank)
    : mapping_(std::move(mapping)), layout_(layout), rank_(rank) {
  free_.push_back({layout_.heap, layout_.heap_end - layout_.heap});
}

Result<std::shared_ptr<ArenaBuffer>> ArenaHeap::Allocate(int64_t bytes) {
  // Even nothing gets a page, so that no two spans start at one offset. What cannot fit anyway is
  // not rounded up, which might overflow.
  const bool possible = bytes >= 0 && bytes <= mapping_->bytes();
  const int64_t wanted = possible
                             ? RoundUpToPages(std::max<int64_t>(bytes, 1) + layout_.skew_in_page)
                             : std::numeric_limits<int64_t>::max();
  Span span{0, wanted};
  {
    std::lock_guard lock(mutex_);
    if (severed_)
      return Status(StatusCode::kShutDown, "the job's shared memory is gone: rueda was shut down");
    const auto fits = std::find_if(free_.begin(), free_.end(),
                                   [&](const Span& hole) { return hole.bytes >= wanted; });
    if (fits == free_.end()) {
      return Status(StatusCode::kSystem,
                    "rank " + std::to_string(rank_) + " has no " + FormatBytes(bytes) +
                        " left in its shared memory; raise RUEDA_ARENA_BYTES (now " +
                        FormatBytes(mapping_->bytes()) + ")");
    }
    span.offset = fits->offset;
    fits->offset += wanted;
    fits->bytes -= wanted;
    if (fits->bytes == 0) free_.erase(fits);
    live_.push_back(span);
  }
  return std::make_shared<ArenaBuffer>(shared_from_this(), span, layout_.skew_in_page, bytes);
}

void ArenaHeap::Free(Span span) {
  // Gives the pages back to the system; they read as zero when handed out again.
  uint8_t* start = mapping_->base() + span.offset;
  if (::madvise(start, static_cast<size_t>(span.bytes), MADV_REMOVE) != 0) {
    std::memset(start, 0, static_cast<size_t>(span.bytes));  // severed: private memory
  }
  std::lock_guard lock(mutex_);
  std::erase_if(live_, [&](const Span& live) { return live.offset == span.offset; });
  auto next = std::find_if(free_.begin(), free_.end(),
                           [&](const Span& hole) { return hole.offset > span.offset; });
  next = free_.insert(next, span);
  const auto merge = [&](auto left, auto right) {
    if (left->offset + left->bytes != right->offset) return;
    left->bytes += right->bytes;
    free_.erase(right);
  };
  if (next + 1 != free_.end()) merge(next, next + 1);
  if (next != free_.begin()) merge(next - 1, next);
}

void ArenaHeap::Sever() {
  std::lock_guard lock(mutex_);
  if (std::exchange(severed_, true)) return;
  std::sort(live_.begin(), live_.end(),
            [](const Span& a, const Span& b) { return a.offset < b.offset; });
  int64_t gap = 0;
  for (const Span& span : live_) {
    ReplaceByEmptyMemory(mapping_->base() + gap, span.offset - gap);
    ReplaceByPrivateCopy(mapping_->base() + span.offset, static_cast<size_t>(span.bytes));
    gap = span.offset + span.bytes;
  }
  ReplaceByEmptyMemory(mapping_->base() + gap, mapping_->bytes() - gap);
}

ArenaBuffer::ArenaBuffer(std::shared_ptr<ArenaHeap> heap, ArenaHeap::Span span, int64_t skew,
                         int64_t bytes)
    : heap_(std::move(heap)),
      span_(span),
      offset_(span.offset + skew),
      bytes_(bytes),
      data_(heap_->mapping_->base() + offset_) {}

ArenaBuffer::~ArenaBuffer() { heap_->Free(span_); }

}  // namespace rueda::transport
