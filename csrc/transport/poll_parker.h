// PollParker: sleeps in poll(2) on the sockets of peers on other hosts, and on an eventfd.
#pragma once

#include <poll.h>

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "core/status.h"
#include "transport/channel.h"
#include "transport/parker.h"
#include "transport/unique_fd.h"

namespace rueda::transport {

class PollParker final : public Parker {
 public:
  static Result<std::unique_ptr<PollParker>> Create();

  // Wakes on what arrives at this descriptor too, and on room to send while `has_unsent` says so.
  // Before the first Park; the descriptor outlives the parker.
  void Watch(int descriptor, std::function<bool()> has_unsent);

  uint32_t Sequence() const override { return sequence_.load(std::memory_order_acquire); }
  void Park(uint32_t seen, TimePoint deadline) override;
  void Unpark() override;

 private:
  explicit PollParker(UniqueFd wake) : wake_(std::move(wake)) {}

  UniqueFd wake_;
  struct Watched {
    int descriptor;
    std::function<bool()> has_unsent;
  };
  std::vector<Watched> watched_;
  std::vector<pollfd> polled_;
  std::atomic<uint32_t> sequence_{0};
};

}  // namespace rueda::transport
