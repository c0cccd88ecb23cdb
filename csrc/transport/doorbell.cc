#include "transport/doorbell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>

namespace rueda::transport {

int FutexWait(const std::atomic<uint32_t>* word, uint32_t expected, TimePoint deadline) {
  // FUTEX_WAIT_BITSET takes an absolute time of CLOCK_MONOTONIC, which is what steady_clock reads.
  timespec until{};
  const timespec* timeout = nullptr;
  if (deadline != kNever) {
    const auto since_start = deadline.time_since_epoch();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_start);
    until.tv_sec = seconds.count();
    until.tv_nsec = (since_start - seconds).count();
    timeout = &until;
  }
  const long result = ::syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, timeout, nullptr,
                                FUTEX_BITSET_MATCH_ANY);
  return result == 0 ? 0 : errno;
}

void FutexWakeAll(const std::atomic<uint32_t>* word) {
  ::syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void Doorbell::Ring() {
  sequence_.fetch_add(1, std::memory_order_seq_cst);
  const auto heed = static_cast<Heed>(heed_.load(std::memory_order_seq_cst));
  if (heed == Heed::kEverybody) FutexWakeAll(&sequence_);
}

void Doorbell::RingAsOwner() {
  sequence_.fetch_add(1, std::memory_order_seq_cst);
  const auto heed = static_cast<Heed>(heed_.load(std::memory_order_seq_cst));
  if (heed != Heed::kNobody) FutexWakeAll(&sequence_);
}

void Doorbell::Sleep(uint32_t seen, TimePoint deadline) {
  SetHeed(Heed::kEverybody);
  SleepHeeding(seen, deadline);
  SetHeed(Heed::kNobody);
}

void Doorbell::SleepHeeding(uint32_t seen, TimePoint deadline) const {
  if (sequence_.load(std::memory_order_seq_cst) == seen) FutexWait(&sequence_, seen, deadline);
}

}  // namespace rueda::transport
