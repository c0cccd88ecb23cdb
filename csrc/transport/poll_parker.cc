#include "transport/poll_parker.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

namespace rueda::transport {

Result<std::unique_ptr<PollParker>> PollParker::Create() {
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return SystemError("eventfd", errno);
  return std::unique_ptr<PollParker>(new PollParker(std::move(wake)));
}

void PollParker::Park(uint32_t seen, TimePoint deadline) {
  polled_.clear();
  polled_.push_back({wake_.get(), POLLIN, 0});
  for (const Channel* channel : channels_) {
    const auto events = static_cast<short>(channel->wants_room() ? POLLIN | POLLOUT : POLLIN);
    polled_.push_back({channel->descriptor(), events, 0});
  }
  // An Unpark between Prepare and here has made the eventfd readable, so poll cannot sleep.
  if (sequence_.load(std::memory_order_acquire) != seen) return;
  timespec left{};
  const timespec* timeout = nullptr;
  if (deadline != kNever) {
    const Duration rest = std::max(Duration::zero(), deadline - std::chrono::steady_clock::now());
    left.tv_sec = rest.count() / 1'000'000'000;
    left.tv_nsec = rest.count() % 1'000'000'000;
    timeout = &left;
  }
  ::ppoll(polled_.data(), polled_.size(), timeout, nullptr);
  if (polled_[0].revents != 0) {
    uint64_t rings = 0;
    [[maybe_unused]] const ssize_t read = ::read(wake_.get(), &rings, sizeof rings);
  }
}

void PollParker::Unpark() {
  sequence_.fetch_add(1, std::memory_order_seq_cst);
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the sleeper is awake already.
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

}  // namespace rueda::transport
