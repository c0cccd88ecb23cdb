// VirtualNetwork: nodes that compute and send messages in virtual time.
//
// Nodes run for real when their turn comes, one after another, and say how long they were busy; the
// network says when their messages arrive. A node does one thing at a time: what arrives meanwhile
// waits, in order of arrival. For one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bench/simulation/event_queue.h"
#include "bench/simulation/links.h"
#include "core/status.h"

namespace rueda::bench {

using Bytes = std::shared_ptr<const std::vector<uint8_t>>;

// A node while it does something.
class Turn {
 public:
  virtual ~Turn() = default;
  virtual Duration now() const = 0;
  // The node computes for so long.
  virtual void Spend(Duration cpu) = 0;
  virtual void Send(int to, Bytes bytes) = 0;
  // Lets the node be idle at that time, if nothing lets it be before.
  virtual void WakeAt(Duration at) = 0;
};

class Node {
 public:
  virtual ~Node() = default;
  virtual Status Start(Turn& turn) = 0;
  virtual Status Receive(int from, const Bytes& bytes, Turn& turn) = 0;
  // It has done something, and nothing has arrived meanwhile.
  virtual Status Idle(Turn&) { return Status::Ok(); }
};

// Since the last BeginStep.
struct Traffic {
  int64_t messages = 0;
  int64_t bytes = 0;
};

class VirtualNetwork {
 public:
  // The nodes, by rank, outlive the network's runs.
  VirtualNetwork(const Links& links, std::vector<Node*> nodes);

  // Virtual time begins anew, and nothing was sent yet.
  void BeginStep();
  void StartAt(int rank, Duration at);
  // Until nothing is left to happen. The first error of a node ends the run.
  Status Run();

  const Traffic& traffic() const { return all_; }
  const Traffic& traffic_into(int rank) const { return At(rank).received; }
  // How long the rank has computed.
  Duration busy(int rank) const { return At(rank).busy; }

 private:
  class OwnTurn;
  enum class Kind { kStart, kAtPort, kDelivered, kIdle };
  struct Event {
    Kind kind;
    int rank;
    int from;
    Bytes bytes;
  };
  struct Place {
    Node* node = nullptr;
    Duration free_at{};   // it computes until then
    Duration out_free{};  // its port sends until then
    Duration in_free{};   // and receives until then
    Duration busy{};
    Traffic received;
  };

  const Place& At(int rank) const { return places_[static_cast<size_t>(rank)]; }
  Status Handle(Duration at, const Event& event);
  void Post(int from, int to, Bytes bytes, Duration at);
  void PassPort(Duration at, const Event& event);

  const Links links_;
  std::vector<Place> places_;
  EventQueue<Event> queue_;
  Traffic all_;
};

}  // namespace rueda::bench
