#include "transport/doorbell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>

namespace rueda::transport {
namespace {

void FullFence() {
#if defined(__SANITIZE_THREAD__)
  // ThreadSanitizer knows no fences, and its compiler refuses them. No race hangs on this one.
  static std::atomic<uint32_t> word;
  word.exchange(0, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace

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

uint32_t Doorbell::Prepare(Heed heed) {
  heed_.store(static_cast<uint32_t>(heed), std::memory_order_relaxed);
  FullFence();
  return Sequence();
}

void Doorbell::Sleep(uint32_t seen, TimePoint deadline) const {
  if (Sequence() == seen) FutexWait(&sequence_, seen, deadline);
}

uint32_t Doorbell::PrepareCaller() {
  heed_.store(static_cast<uint32_t>(Heed::kCaller), std::memory_order_relaxed);
  FullFence();
  return caller_sequence_.load(std::memory_order_acquire);
}

int Doorbell::SleepAsCaller(uint32_t seen, TimePoint deadline) const {
  return FutexWait(&caller_sequence_, seen, deadline);
}

// Relaxed, as LeaveToCaller: one word, whose changes have one order, decides between the two.
bool Doorbell::CancelCaller() {
  const uint32_t before =
      heed_.exchange(static_cast<uint32_t>(Heed::kNobody), std::memory_order_relaxed);
  return static_cast<Heed>(before) == Heed::kCallerAlone;
}

bool Doorbell::LeaveToCaller() {
  auto expected = static_cast<uint32_t>(Heed::kCaller);
  return heed_.compare_exchange_strong(expected, static_cast<uint32_t>(Heed::kCallerAlone),
                                       std::memory_order_relaxed);
}

void Doorbell::Ring() {
  FullFence();
  const Heed whom = heed();
  if (whom == Heed::kEverybody) Wake(&sequence_);
  if (IsCaller(whom)) Wake(&caller_sequence_);
}

void Doorbell::RingAsOwner() {
  FullFence();
  const Heed whom = heed();
  if (whom == Heed::kEverybody || whom == Heed::kOwner) Wake(&sequence_);
  if (IsCaller(whom)) Wake(&caller_sequence_);
}

void Doorbell::RingCaller() {
  FullFence();
  if (IsCaller(heed())) Wake(&caller_sequence_);
}

void Doorbell::Wake(std::atomic<uint32_t>* sequence) {
  sequence->fetch_add(1, std::memory_order_release);
  FutexWakeAll(sequence);
}

}  // namespace rueda::transport
