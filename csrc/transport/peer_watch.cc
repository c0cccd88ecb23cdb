#include "transport/peer_watch.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>

#include "transport/process_state.h"
#include "transport/thread_setup.h"

namespace rueda::transport {

Result<std::unique_ptr<PeerWatch>> PeerWatch::Start(std::vector<UniqueFd> pidfds,
                                                    std::function<void(int)> on_exit) {
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
  if (!stop.valid()) return SystemError("eventfd", errno);
  std::unique_ptr<PeerWatch> watch(
      new PeerWatch(std::move(pidfds), std::move(stop), std::move(on_exit)));
  SignalsBlocked blocked;
  watch->thread_ = std::thread([raw = watch.get()] { raw->Watch(); });
  return watch;
}

PeerWatch::~PeerWatch() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(stop_.get(), &one, sizeof one);
  thread_.join();
}

int64_t PeerWatch::LocalPid(int rank) const {
  const auto index = static_cast<size_t>(rank);
  return index < pidfds_.size() && pidfds_[index].valid() ? PidOf(pidfds_[index].get()) : 0;
}

void PeerWatch::AbandonInForkedChild() {
  pidfds_.clear();
  stop_.reset();
  // The handle names a thread of the parent. Neither join nor detach is possible here, and a
  // joinable std::thread must not be destroyed: it is moved to where nobody destroys it.
  if (thread_.joinable()) new std::thread(std::move(thread_));
}

void PeerWatch::Watch() {
  NameThisThread("rueda-watch");
  std::vector<pollfd> polled{{stop_.get(), POLLIN, 0}};
  for (const UniqueFd& pidfd : pidfds_) polled.push_back({pidfd.get(), POLLIN, 0});
  while (true) {
    if (::poll(polled.data(), polled.size(), -1) < 0) continue;  // EINTR: nothing else can happen
    if (polled[0].revents != 0) return;
    for (size_t i = 1; i < polled.size(); ++i) {
      if (polled[i].revents == 0) continue;
      polled[i].fd = -1;  // poll skips it from now on
      on_exit_(static_cast<int>(i) - 1);
    }
  }
}

}  // namespace rueda::transport
