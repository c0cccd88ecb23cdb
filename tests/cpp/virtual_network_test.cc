// The simulator's clockwork: virtual time, links, shapes, and what counts of measured costs. Costs
// are given here, so every time is known exactly.
#include "bench/simulation/virtual_network.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/simulation/control_shape.h"
#include "bench/simulation/cost_book.h"
#include "bench/simulation/event_queue.h"

namespace rueda::bench {
namespace {

using std::chrono::microseconds;

Bytes BytesOf(size_t size) { return std::make_shared<const std::vector<uint8_t>>(size); }

// Does as it is told and notes when.
class ScriptedNode final : public Node {
 public:
  std::function<void(Turn&)> at_start = [](Turn&) {};
  std::function<void(int, Turn&)> at_message = [](int, Turn&) {};
  std::vector<Duration> began;
  std::vector<Duration> idle;

  Status Start(Turn& turn) override {
    at_start(turn);
    return Status::Ok();
  }
  Status Receive(int from, const Bytes&, Turn& turn) override {
    began.push_back(turn.now());
    at_message(from, turn);
    return Status::Ok();
  }
  Status Idle(Turn& turn) override {
    idle.push_back(turn.now());
    return Status::Ok();
  }
};

// Ranks 0 and 1 on one host, 2 and 3 on another.
Links SlowLinks() {
  return {{microseconds(1), 1e9, microseconds(2)}, {microseconds(50), 1e8, microseconds(3)}, 2};
}

struct World {
  explicit World(const Links& links) : nodes(4), network(links, PointersTo(nodes)) {}
  static std::vector<Node*> PointersTo(std::vector<ScriptedNode>& nodes) {
    std::vector<Node*> pointers;
    for (ScriptedNode& node : nodes) pointers.push_back(&node);
    return pointers;
  }

  std::vector<ScriptedNode> nodes;
  VirtualNetwork network;
};

}  // namespace

TEST_CASE("Events happen in order of time, and in the order of adding at one time") {
  EventQueue<int> queue;
  for (const auto& [at, event] : {std::pair(5, 1), {3, 2}, {5, 3}, {0, 4}, {3, 5}}) {
    queue.Add(microseconds(at), event);
  }
  std::vector<int> order;
  while (!queue.empty()) order.push_back(queue.Take().event);
  CHECK(order == std::vector<int>{4, 2, 5, 1, 3});
}

TEST_CASE("A message takes the CPU of both ends, the latency and its bytes' time") {
  World world(SlowLinks());
  // 1000 bytes: 1 us within a host, 10 us between two.
  world.nodes[0].at_start = [](Turn& turn) {
    turn.Spend(microseconds(100));
    turn.Send(1, BytesOf(1000));
    turn.Send(2, BytesOf(1000));
  };
  world.nodes[2].at_message = [](int from, Turn& turn) {
    CHECK(from == 0);
    turn.Spend(microseconds(7));
  };
  world.network.StartAt(0, microseconds(10));
  REQUIRE(world.network.Run().ok());
  // Sent at 112; 1 under way, 1 for bytes, 2 to receive.
  CHECK(world.nodes[1].began == std::vector<Duration>{microseconds(116)});
  // Sent at 115; 50 under way, 10 for bytes, 3 to receive.
  CHECK(world.nodes[2].began == std::vector<Duration>{microseconds(178)});
  CHECK(world.network.busy(0) == microseconds(105));
  CHECK(world.network.busy(2) == microseconds(10));
  CHECK(world.network.busy(3) == Duration::zero());
  CHECK(world.network.traffic().messages == 2);
  CHECK(world.network.traffic().bytes == 2000);
  CHECK(world.network.traffic_into(2).bytes == 1000);
  CHECK(world.network.traffic_into(0).messages == 0);
}

TEST_CASE("Messages wait for ports and for a node that computes") {
  Links links = SlowLinks();
  links.between_hosts.message_cpu = Duration::zero();
  World world(links);
  // 10,000 bytes occupy a port for 100 us.
  for (const size_t sender : {2U, 3U}) {
    world.nodes[sender].at_start = [](Turn& turn) {
      turn.Send(0, BytesOf(10'000));
      turn.Send(0, BytesOf(10'000));
    };
  }
  world.nodes[0].at_message = [](int, Turn& turn) { turn.Spend(microseconds(130)); };
  for (const int sender : {2, 3}) world.network.StartAt(sender, Duration::zero());
  REQUIRE(world.network.Run().ok());
  // They reach the port at 50, 50, 150 and 150 and are in at 150, 250, 350 and 450; the node is
  // busy until 280, 410, 540.
  CHECK(world.nodes[0].began == std::vector<Duration>{microseconds(150), microseconds(280),
                                                      microseconds(410), microseconds(540)});
  CHECK(world.nodes[0].idle == std::vector<Duration>{microseconds(670)});
}

TEST_CASE("A node is idle whenever it is done and nothing has come") {
  World world(SlowLinks());
  world.nodes[1].at_start = [](Turn& turn) {
    turn.Send(0, BytesOf(0));
    turn.Spend(microseconds(100));
    turn.Send(0, BytesOf(0));
  };
  world.network.StartAt(1, Duration::zero());
  REQUIRE(world.network.Run().ok());
  CHECK(world.nodes[0].idle == std::vector<Duration>{microseconds(5), microseconds(107)});
  world.network.BeginStep();
  CHECK(world.network.traffic().messages == 0);
  CHECK(world.network.busy(1) == Duration::zero());
}

TEST_CASE("A star hangs everybody on rank 0") {
  const ControlShape star = ControlShape::Star(4);
  CHECK(star.parent(0) == -1);
  CHECK(star.parent(3) == 0);
  CHECK(star.children(0) == std::vector<int>{1, 2, 3});
  CHECK(star.children(2).empty());
  CHECK(star.depth() == 1);
}

TEST_CASE("A tree hangs ranks on their host's first rank, and hosts on each other") {
  const ControlShape tree = ControlShape::Tree(11, 2, 2);
  // Hosts {0 1} {2 3} {4 5} {6 7} {8 9} {10}.
  CHECK(tree.children(0) == std::vector<int>{1, 2, 4});
  CHECK(tree.children(2) == std::vector<int>{3, 6, 8});
  CHECK(tree.children(4) == std::vector<int>{5, 10});
  CHECK(tree.children(10).empty());
  CHECK(tree.depth() == 3);
  for (const int ranks : {1, 2, 3, 8, 9, 65, 1024}) {
    const ControlShape other = ControlShape::Tree(ranks, 8, 4);
    size_t children = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      CHECK(other.parent(rank) < rank);
      CHECK(other.children(rank).size() <= 7 + 4);
      children += other.children(rank).size();
    }
    CHECK(children == static_cast<size_t>(ranks) - 1);
  }
}

TEST_CASE("What a piece costs is the median of what ranks that do alike have paid") {
  CostBook book;
  const CostKey take{CostKey::Work::kTake, 1, 7};
  CHECK(book.Of(take) == Duration::zero());
  CHECK(book.Note(take, microseconds(3)) == microseconds(3));
  CHECK(book.Note(take, microseconds(900)) == microseconds(3));
  CHECK(book.Note(take, microseconds(5)) == microseconds(5));
  CHECK(book.Note({CostKey::Work::kTake, 0, 7}, microseconds(8)) == microseconds(8));
  CHECK(book.Note({CostKey::Work::kTake, 1, 8}, microseconds(9)) == microseconds(9));
  CHECK(book.Note({CostKey::Work::kOffer, 1, 7}, microseconds(2)) == microseconds(2));
  CHECK(book.Of(take) == microseconds(5));
  // Only the last 63 count.
  for (int i = 0; i < 63; ++i) book.Note(take, microseconds(1000));
  CHECK(book.Of(take) == microseconds(1000));
  book.Clear();
  CHECK(book.Of(take) == Duration::zero());
}

TEST_CASE("A meter leaves out what reading the clock takes") {
  class TickingClock final : public Clock {
   public:
    TimePoint Now() const override { return TimePoint(microseconds(++ticks_)); }

   private:
    mutable int ticks_ = 0;
  };
  const TickingClock clock;
  CHECK(CostMeter::OverheadOf(clock) == microseconds(1));
  const CostMeter meter(&clock, microseconds(1));
  CHECK(meter.Measure([] {}) == Duration::zero());
  CHECK(meter.Measure([&] { (void)clock.Now(); }) == microseconds(1));
  // Of what others took, nothing counts.
  ManualClock own;
  CostMeter lone(&clock, microseconds(1));
  lone.LeaveOutOthers(&own, microseconds(3));
  const auto interrupted = [&] {
    for (int i = 0; i < 50; ++i) (void)clock.Now();
    own.Advance(microseconds(9));
  };
  CHECK(lone.Measure(interrupted) == microseconds(6));
  CHECK(meter.Measure(interrupted) == microseconds(50));
  const CostMeter pessimist(&clock, microseconds(5));
  CHECK(pessimist.Measure([] {}) == Duration::zero());
}

}  // namespace rueda::bench
