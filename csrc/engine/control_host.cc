// The control road of rank 0: the coordinator, and a stream to every other rank.
#include <algorithm>
#include <deque>
#include <string>

#include "control/request_memo.h"
#include "control/words.h"
#include "engine/control_road.h"
#include "transport/message_stream.h"

namespace rueda::engine {
namespace {

class ControlHost final : public ControlRoad {
 public:
  ControlHost(const EngineParts& parts, std::vector<std::unique_ptr<transport::Channel>> channels)
      : topology_(parts.topology),
        clock_(parts.clock),
        coordinator_(parts.topology, parts.coordinator) {
    clients_.resize(channels.size());
    for (size_t rank = 0; rank < channels.size(); ++rank) {
      if (channels[rank] == nullptr) continue;
      clients_[rank].stream = std::make_unique<transport::MessageStream>(std::move(channels[rank]),
                                                                         control::kMaxMessageBytes);
      if (parts.control_needs_hello) clients_[rank].stream->HoldUntilHeard();
    }
  }

  Status Offer(const control::Batch& batch) override {
    return coordinator_.Absorb(topology_.rank, batch, clock_->Now());
  }

  Result<bool> Poll() override {
    bool moved = false;
    for (size_t rank = 0; rank < clients_.size(); ++rank) {
      if (!clients_[rank].reachable()) continue;
      Result<bool> heard = Hear(static_cast<int>(rank));
      if (!heard.ok()) return heard.status();
      moved |= *heard;
    }
    // Frames wait until the last ones are on their way: a coordinator that ran ahead would queue
    // without limit, and offers that arrive meanwhile fuse.
    if (!Flushed()) return moved;
    // Looked at again and again: while nothing is offered the clock is not even read.
    if (coordinator_.NextDeadline() == kNever) return moved;
    control::Frame* const frame = frames_.Next();
    if (!coordinator_.Decide(clock_->Now(), frame)) return moved;
    RUEDA_RETURN_IF_ERROR(Broadcast(*frame));
    frames_.Push();
    return true;
  }

  std::vector<int> Dependents() const override { return coordinator_.Dependents(); }
  control::Coordinator* coordinator() override { return &coordinator_; }

  void SetLimits(const control::Limits& limits) override { coordinator_.SetLimits(limits); }

  const control::Frame* TakeFrame() override { return frames_.Take(); }

  bool CanTell(int rank) const override {
    if (rank < 0 || static_cast<size_t>(rank) >= clients_.size()) return false;
    const Client& client = clients_[static_cast<size_t>(rank)];
    return client.reachable() && !client.stream->has_unsent();
  }

  Status Tell(const Aside& aside) override {
    Client& client = clients_.at(static_cast<size_t>(aside.rank));
    if (!client.reachable()) return Status::Ok();
    const Status sent =
        client.stream->Send(static_cast<uint8_t>(MessageType::kAside), EncodeAside(aside));
    return sent.ok() ? sent : LastWordsFirst(aside.rank, sent);
  }

  std::optional<Aside> TakeAside() override {
    if (asides_.empty()) return std::nullopt;
    Aside aside = std::move(asides_.front());
    asides_.pop_front();
    return aside;
  }

  // What is decided has to wait for room first, and room wakes the engine.
  TimePoint NextDeadline() const override {
    return Flushed() ? coordinator_.NextDeadline() : kNever;
  }
  const std::optional<Status>& closed() const override { return closed_; }

  bool Flushed() const override {
    return std::none_of(clients_.begin(), clients_.end(), [](const Client& client) {
      return client.reachable() && client.stream->has_unsent();
    });
  }

  void Farewell(const Status& why, const std::string& reason) override {
    const auto type = why.ok() ? MessageType::kFarewell : MessageType::kFailure;
    const std::string_view words = control::Clip(reason, kMaxLastWords);
    const std::vector<uint8_t> payload =
        why.ok() ? std::vector<uint8_t>(words.begin(), words.end()) : EncodeFailure(why);
    for (Client& client : clients_) {
      if (!client.reachable()) continue;
      (void)client.stream->Send(static_cast<uint8_t>(type),
                                payload);  // who is gone needs no farewell
      client.stream->Close();
    }
  }

 private:
  struct Client {
    std::unique_ptr<transport::MessageStream> stream;
    bool left = false;  // it said so
    bool gone = false;  // and closed its end
    bool reachable() const { return stream != nullptr && !gone; }
  };

  // Listens before it sends: a client that takes nothing more may have said why.
  Result<bool> Hear(int rank) {
    Result<bool> heard = Listen(rank);
    Client& client = clients_[static_cast<size_t>(rank)];
    if (!heard.ok() || client.gone) return heard;
    Result<bool> sent = client.stream->Flush();
    if (!sent.ok()) RUEDA_RETURN_IF_ERROR(LastWordsFirst(rank, sent.status()));
    return *heard || (sent.ok() && *sent);
  }

  Result<bool> Listen(int rank) {
    Client& client = clients_[static_cast<size_t>(rank)];
    bool moved = false;
    while (true) {
      auto message = client.stream->Receive();
      if (!message.ok()) return Lost(rank, message.status());
      if (!message->has_value()) return moved;
      RUEDA_RETURN_IF_ERROR(Take(rank, **message));
      moved = true;
    }
  }

  // After a send that failed: what the client said before it closed counts, not the closed channel.
  Status LastWordsFirst(int rank, const Status& sent) {
    if (sent.code() == StatusCode::kPeerLost) RUEDA_RETURN_IF_ERROR(Listen(rank).status());
    return clients_[static_cast<size_t>(rank)].gone ? Status::Ok() : Lost(rank, sent).status();
  }

  // A closed stream is expected of a rank that left, and the end of the epoch otherwise.
  Result<bool> Lost(int rank, const Status& status) {
    Client& client = clients_[static_cast<size_t>(rank)];
    if (status.code() != StatusCode::kPeerLost) return status;
    if (client.left) {
      client.gone = true;
      return false;
    }
    return Status(StatusCode::kPeerLost, topology_.Describe(rank) + " is gone: " + status.message())
        .Blame(rank);
  }

  Status Take(int rank, const transport::Message& message) {
    if (message.type == static_cast<uint8_t>(MessageType::kFailure)) {
      return DecodeFailure(message.payload);
    }
    if (message.type == static_cast<uint8_t>(MessageType::kHello)) return Status::Ok();
    if (message.type == static_cast<uint8_t>(MessageType::kAside)) {
      auto aside = DecodeAside(message.payload, rank);
      if (!aside.ok()) return aside.status();
      asides_.push_back(std::move(*aside));
      return Status::Ok();
    }
    if (message.type != static_cast<uint8_t>(MessageType::kBatch)) {
      return {StatusCode::kCorrupt, "a control message of unknown type " +
                                        std::to_string(message.type) + " from " +
                                        topology_.Describe(rank)};
    }
    RUEDA_RETURN_IF_ERROR(control::DecodeBatch(message.payload, &batch_, &memo_));
    clients_[static_cast<size_t>(rank)].left |= batch_.leave_reason.has_value();
    return coordinator_.Absorb(rank, batch_, clock_->Now());
  }

  Status Broadcast(const control::Frame& frame) {
    control::Encode(frame, &bytes_);
    for (size_t rank = 0; rank < clients_.size(); ++rank) {
      Client& client = clients_[rank];
      if (!client.reachable()) continue;
      const Status sent = client.stream->Send(static_cast<uint8_t>(MessageType::kFrame), bytes_);
      if (!sent.ok()) RUEDA_RETURN_IF_ERROR(LastWordsFirst(static_cast<int>(rank), sent));
    }
    return Status::Ok();
  }

  const Topology& topology_;
  const std::shared_ptr<const Clock> clock_;
  control::Coordinator coordinator_;
  std::vector<Client> clients_;  // by rank
  FrameQueue frames_;
  control::RequestMemo memo_;
  control::Batch batch_;        // the last one heard
  std::vector<uint8_t> bytes_;  // the last frame
  std::deque<Aside> asides_;
  const std::optional<Status> closed_;
};

}  // namespace

std::unique_ptr<ControlRoad> MakeControlHost(
    const EngineParts& parts, std::vector<std::unique_ptr<transport::Channel>> channels) {
  return std::make_unique<ControlHost>(parts, std::move(channels));
}

}  // namespace rueda::engine
