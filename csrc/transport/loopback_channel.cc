#include "transport/loopback_channel.h"

#include <algorithm>
#include <array>
#include <deque>
#include <mutex>

namespace rueda::transport {
namespace {

// What both ends share; shared_ptr because either end may be destroyed first.
struct Link {
  explicit Link(size_t capacity_bytes) : capacity(capacity_bytes) {}

  const size_t capacity;
  std::mutex mutex;
  std::array<std::deque<uint8_t>, 2> queues;  // by receiving end; guarded by mutex
  std::array<bool, 2> closed{};               // by end; guarded by mutex
};

class LoopbackChannel final : public Channel {
 public:
  LoopbackChannel(std::shared_ptr<Link> link, size_t end, std::function<void()> wake_peer)
      : link_(std::move(link)), end_(end), wake_peer_(std::move(wake_peer)) {}
  ~LoopbackChannel() override { Close(); }

  Result<size_t> Send(const uint8_t* data, size_t bytes) override {
    if (bytes == 0) return size_t{0};
    size_t moved = 0;
    {
      std::lock_guard lock(link_->mutex);
      if (link_->closed[0] || link_->closed[1]) return Closed();
      std::deque<uint8_t>& queue = link_->queues[1 - end_];
      moved = std::min(bytes, link_->capacity - queue.size());
      queue.insert(queue.end(), data, data + moved);
    }
    if (moved > 0) wake_peer_();
    return moved;
  }

  Result<size_t> Receive(uint8_t* data, size_t bytes) override {
    if (bytes == 0) return size_t{0};
    size_t moved = 0;
    {
      std::lock_guard lock(link_->mutex);
      std::deque<uint8_t>& queue = link_->queues[end_];
      if (queue.empty() && link_->closed[1 - end_]) return Closed();
      moved = std::min(bytes, queue.size());
      const auto last = queue.begin() + static_cast<std::ptrdiff_t>(moved);
      std::copy(queue.begin(), last, data);
      queue.erase(queue.begin(), last);
    }
    if (moved > 0) wake_peer_();
    return moved;
  }

  void Close() override {
    {
      std::lock_guard lock(link_->mutex);
      link_->closed[end_] = true;
    }
    wake_peer_();
  }

  int descriptor() const override { return -1; }

 private:
  static Status Closed() { return {StatusCode::kPeerLost, "the other end closed the link"}; }

  std::shared_ptr<Link> link_;
  size_t end_;
  std::function<void()> wake_peer_;
};

}  // namespace

std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>> MakeLoopbackLink(
    size_t capacity, std::function<void()> wake_first, std::function<void()> wake_second) {
  auto link = std::make_shared<Link>(capacity);
  return {std::make_unique<LoopbackChannel>(link, 0, std::move(wake_second)),
          std::make_unique<LoopbackChannel>(link, 1, std::move(wake_first))};
}

}  // namespace rueda::transport
