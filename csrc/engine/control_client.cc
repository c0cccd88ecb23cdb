// The control road of every rank but 0: one stream to the coordinator.
#include <algorithm>
#include <cstring>
#include <deque>
#include <string>

#include "control/words.h"
#include "engine/control_road.h"
#include "transport/message_stream.h"

namespace rueda::engine {
namespace {

class ControlClient final : public ControlRoad {
 public:
  ControlClient(const EngineParts& parts, std::unique_ptr<transport::Channel> channel)
      : topology_(parts.topology), stream_(std::move(channel), control::kMaxMessageBytes) {
    // A connection that is gone already shows in the first Poll.
    if (parts.control_needs_hello)
      (void)stream_.Send(static_cast<uint8_t>(MessageType::kHello), {});
  }

  Status Offer(const control::Batch& batch) override {
    if (closed_) return Status::Ok();
    control::Encode(batch, &bytes_);
    return LastWordsFirst(stream_.Send(static_cast<uint8_t>(MessageType::kBatch), bytes_));
  }

  Result<bool> Poll() override {
    if (closed_) return false;
    Result<bool> heard = Hear();
    if (!heard.ok() || closed_) return heard;
    Result<bool> sent = stream_.Flush();
    if (!sent.ok()) RUEDA_RETURN_IF_ERROR(LastWordsFirst(sent.status()));
    return *heard || (sent.ok() && *sent);
  }

  const control::Frame* TakeFrame() override { return frames_.Take(); }

  bool CanTell(int rank) const override { return rank == 0 && !closed_ && !stream_.has_unsent(); }

  Status Tell(const Aside& aside) override {
    if (aside.rank != 0 || closed_) return Status::Ok();
    return LastWordsFirst(
        stream_.Send(static_cast<uint8_t>(MessageType::kAside), EncodeAside(aside)));
  }

  std::optional<Aside> TakeAside() override {
    if (asides_.empty()) return std::nullopt;
    Aside aside = std::move(asides_.front());
    asides_.pop_front();
    return aside;
  }

  TimePoint NextDeadline() const override { return kNever; }
  const std::optional<Status>& closed() const override { return closed_; }
  bool Flushed() const override { return closed_ || !stream_.has_unsent(); }

  void Farewell(const Status& why, const std::string&) override {
    if (!why.ok() && !closed_) {
      // The epoch is over: whether rank 0 still hears it changes nothing here.
      (void)stream_.Send(static_cast<uint8_t>(MessageType::kFailure), EncodeFailure(why));
    }
    stream_.Close();
  }

 private:
  Result<bool> Hear() {
    bool moved = false;
    while (!closed_) {
      auto message = stream_.Receive();
      if (!message.ok()) return Explain(message.status());
      if (!message->has_value()) break;
      RUEDA_RETURN_IF_ERROR(Take(**message));
      moved = true;
    }
    return moved;
  }

  // A rank 0 that takes nothing more may have said why: that counts, not the closed connection.
  Status LastWordsFirst(const Status& sent) {
    if (sent.code() != StatusCode::kPeerLost) return sent;
    RUEDA_RETURN_IF_ERROR(Hear().status());
    return closed_ ? Status::Ok() : Explain(sent);
  }

  Status Take(const transport::Message& message) {
    switch (static_cast<MessageType>(message.type)) {
      case MessageType::kFrame: {
        control::Frame* const frame = frames_.Next();
        RUEDA_RETURN_IF_ERROR(control::DecodeFrame(message.payload, frame));
        if (frame->number != ++last_frame_) {
          return {StatusCode::kCorrupt, "frame " + std::to_string(frame->number) +
                                            " came where number " + std::to_string(last_frame_) +
                                            " was expected"};
        }
        frames_.Push();
        return Status::Ok();
      }
      case MessageType::kFarewell: {
        const std::string reason(message.payload.begin(), message.payload.end());
        closed_ = Status(StatusCode::kPeerLeft,
                         topology_.Describe(0) + " left: " +
                             (reason.empty() ? "it shut down in order. Check that every rank takes "
                                               "the same number of steps."
                                             : reason));
        closed_->Blame(0);
        return Status::Ok();
      }
      case MessageType::kFailure:
        return DecodeFailure(message.payload);
      case MessageType::kAside: {
        auto aside = DecodeAside(message.payload, 0);
        if (!aside.ok()) return aside.status();
        asides_.push_back(std::move(*aside));
        return Status::Ok();
      }
      case MessageType::kBatch:
      case MessageType::kHello:
        break;
    }
    return {StatusCode::kCorrupt,
            "a control message of unknown type " + std::to_string(message.type)};
  }

  Status Explain(Status status) const {
    if (status.code() != StatusCode::kPeerLost) return status;
    return Status(StatusCode::kPeerLost, topology_.Describe(0) + " is gone: " + status.message())
        .Blame(0);
  }

  const Topology& topology_;
  transport::MessageStream stream_;
  FrameQueue frames_;
  std::vector<uint8_t> bytes_;  // the last batch
  std::deque<Aside> asides_;
  uint64_t last_frame_ = 0;
  std::optional<Status> closed_;
};

}  // namespace

std::unique_ptr<ControlRoad> MakeControlClient(const EngineParts& parts,
                                               std::unique_ptr<transport::Channel> channel) {
  return std::make_unique<ControlClient>(parts, std::move(channel));
}

std::vector<uint8_t> EncodeFailure(const Status& why) {
  std::vector<uint8_t> payload;
  for (const int value : {static_cast<int>(why.code()), why.blamed_rank()}) {
    const auto bits = static_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8)
      payload.push_back(static_cast<uint8_t>(bits >> shift));
  }
  const std::string_view words = control::Clip(why.message(), kMaxLastWords);
  payload.insert(payload.end(), words.begin(), words.end());
  return payload;
}

Status DecodeFailure(std::span<const uint8_t> payload) {
  if (payload.size() < 8) return {StatusCode::kCorrupt, "a failure message is too short"};
  const auto load = [&](size_t at) {
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; ++i) bits |= static_cast<uint32_t>(payload[at + i]) << (8 * i);
    return static_cast<int>(bits);
  };
  const int code = load(0);
  if (code == 0) return {StatusCode::kCorrupt, "a failure message without an error"};
  return Status(static_cast<StatusCode>(code), std::string(payload.begin() + 8, payload.end()))
      .Blame(load(4));
}

}  // namespace rueda::engine
