#include "bench/simulation/virtual_network.h"

#include <algorithm>
#include <utility>

namespace rueda::bench {

class VirtualNetwork::OwnTurn final : public Turn {
 public:
  OwnTurn(VirtualNetwork* network, int rank, Duration at)
      : network_(network), rank_(rank), began_(at), now_(at) {}

  Duration now() const override { return now_; }
  void Spend(Duration cpu) override { now_ += std::max(cpu, Duration::zero()); }
  void Send(int to, Bytes bytes) override {
    Spend(network_->links_.Between(rank_, to).message_cpu);
    network_->Post(rank_, to, std::move(bytes), now_);
  }
  void WakeAt(Duration at) override {
    network_->queue_.Add(std::max(at, now_), {Kind::kIdle, rank_, -1, nullptr});
  }

  void End() {
    Place& place = network_->places_[static_cast<size_t>(rank_)];
    place.free_at = now_;
    place.busy += now_ - began_;
  }

 private:
  VirtualNetwork* network_;
  const int rank_;
  const Duration began_;
  Duration now_;
};

VirtualNetwork::VirtualNetwork(const Links& links, std::vector<Node*> nodes)
    : links_(links), places_(nodes.size()) {
  for (size_t i = 0; i < nodes.size(); ++i) places_[i].node = nodes[i];
}

void VirtualNetwork::BeginStep() {
  for (Place& place : places_) {
    Node* node = place.node;
    place = {};
    place.node = node;
  }
  all_ = {};
}

void VirtualNetwork::StartAt(int rank, Duration at) {
  queue_.Add(at, {Kind::kStart, rank, -1, nullptr});
}

Status VirtualNetwork::Run() {
  while (!queue_.empty()) {
    const auto next = queue_.Take();
    if (next.event.kind == Kind::kAtPort) {
      PassPort(next.at, next.event);
    } else {
      RUEDA_RETURN_IF_ERROR(Handle(next.at, next.event));
    }
  }
  return Status::Ok();
}

Status VirtualNetwork::Handle(Duration at, const Event& event) {
  Place& place = places_[static_cast<size_t>(event.rank)];
  // Something came after all; when that is done, the node is idle again.
  if (event.kind == Kind::kIdle && place.free_at > at) return Status::Ok();
  OwnTurn turn(this, event.rank, std::max(at, place.free_at));
  if (event.kind == Kind::kIdle) {
    RUEDA_RETURN_IF_ERROR(place.node->Idle(turn));
    turn.End();
    return Status::Ok();
  }
  if (event.kind == Kind::kStart) {
    RUEDA_RETURN_IF_ERROR(place.node->Start(turn));
  } else {
    turn.Spend(links_.Between(event.from, event.rank).message_cpu);
    RUEDA_RETURN_IF_ERROR(place.node->Receive(event.from, event.bytes, turn));
  }
  turn.End();
  queue_.Add(turn.now(), {Kind::kIdle, event.rank, -1, nullptr});
  return Status::Ok();
}

// The first byte is under way once the port is free; bytes flow through both ports at once.
void VirtualNetwork::Post(int from, int to, Bytes bytes, Duration at) {
  Place& sender = places_[static_cast<size_t>(from)];
  Place& receiver = places_[static_cast<size_t>(to)];
  const auto size = static_cast<int64_t>(bytes->size());
  for (Traffic* traffic : {&all_, &receiver.received}) {
    ++traffic->messages;
    traffic->bytes += size;
  }
  const Link& link = links_.Between(from, to);
  const Duration departs = std::max(at, sender.out_free);
  sender.out_free = departs + link.Transfer(bytes->size());
  queue_.Add(departs + link.latency, {Kind::kAtPort, to, from, std::move(bytes)});
}

void VirtualNetwork::PassPort(Duration at, const Event& event) {
  Place& receiver = places_[static_cast<size_t>(event.rank)];
  const Link& link = links_.Between(event.from, event.rank);
  receiver.in_free = std::max(at, receiver.in_free) + link.Transfer(event.bytes->size());
  queue_.Add(receiver.in_free, {Kind::kDelivered, event.rank, event.from, event.bytes});
}

}  // namespace rueda::bench
