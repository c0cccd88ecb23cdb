// PollParker: sleeps in poll(2) on the sockets of peers on other hosts, and on an eventfd.
#pragma once

#include <poll.h>

#include <atomic>
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

  // Wakes on what arrives on this channel too, and on room while it wants some. Before the first
  // Park; the channel outlives the last.
  void Watch(const Channel* channel) { channels_.push_back(channel); }

  uint32_t Prepare() override { return sequence_.load(std::memory_order_acquire); }
  void Park(uint32_t seen, TimePoint deadline) override;
  void Unpark() override;

 private:
  explicit PollParker(UniqueFd wake) : wake_(std::move(wake)) {}

  UniqueFd wake_;
  std::vector<const Channel*> channels_;
  std::vector<pollfd> polled_;
  std::atomic<uint32_t> sequence_{0};
};

}  // namespace rueda::transport
