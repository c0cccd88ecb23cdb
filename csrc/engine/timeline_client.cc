// The timeline of every rank but 0: records when rank 0 says so, and passes on what it recorded.
#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "engine/control_road.h"
#include "engine/timeline.h"
#include "timeline/timeline_message.h"

namespace rueda::engine {
namespace {

using timeline::TimelineMessage;

// How long a rank that leaves tries to pass on what it still has.
constexpr Duration kLeaveLimit = std::chrono::seconds(2);
// How long a rank that is to end its recording waits for what is under way.
constexpr Duration kFinishLimit = std::chrono::seconds(1);

class TimelineClient final : public Timeline {
 public:
  TimelineClient(std::shared_ptr<const Clock> clock, std::shared_ptr<timeline::Recorder> recorder)
      : clock_(std::move(clock)), recorder_(std::move(recorder)) {}

  Status Start(const std::string&, bool) override { return Status::Ok(); }
  Status Stop() override { return Status::Ok(); }

  Status Hear(const Aside& aside) override {
    Result<TimelineMessage> message = timeline::DecodeTimelineMessage(aside.body);
    if (!message.ok()) return message.status();
    if (const auto* start = std::get_if<timeline::StartMessage>(&*message)) {
      recorder_->Clear();
      recorder_->Start(start->mark_frames);
      session_ = start->session;
      recording_ = true;
      ending_ = false;
      end_by_ = kNever;
    } else if (const auto* stop = std::get_if<timeline::StopMessage>(&*message)) {
      if (stop->session == session_) EndSoon();
    } else if (const auto* ask = std::get_if<timeline::AskTimeMessage>(&*message)) {
      questions_.push_back({ask->asked, recorder_->Now(), 0, 0});
    } else {
      return {StatusCode::kCorrupt, "rank 0 sent a message about the timeline that only it takes"};
    }
    return Status::Ok();
  }

  Result<bool> Step(ControlRoad* road) override {
    if (questions_.empty() && !recording_) return false;
    bool moved = false;
    while (!questions_.empty() && road->CanTell(0)) {
      timeline::ClockExchange exchange = questions_.front();
      questions_.pop_front();
      exchange.answered = recorder_->Now();
      RUEDA_RETURN_IF_ERROR(Tell(road, timeline::TellTimeMessage{exchange}));
      moved = true;
    }
    if (recording_ && end_by_ != kNever) EndIfQuiet();
    if (!recording_ || !IsDue()) return moved;
    Result<bool> passed = PassOn(road);
    if (!passed.ok()) return passed;
    return moved || *passed;
  }

  TimePoint NextDeadline() const override {
    // What waits for room in the channel is woken by room.
    if (!recording_ || blocked_) return leave_until_;
    return std::min({recorder_->due(), leave_until_, ending_ ? kNever : end_by_});
  }

  bool ReadyToLeave() override {
    if (!recording_) return true;
    if (leave_until_ == kNever) leave_until_ = clock_->Now() + kLeaveLimit;
    EndSoon();
    if (clock_->Now() < leave_until_) return false;
    leave_until_ = kNever;
    return true;
  }

  void EpochEnded() override { recorder_->Stop(); }

 private:
  // What is agreed still runs, and is recorded: this rank may be a little behind rank 0.
  void EndSoon() {
    if (recording_ && end_by_ == kNever) end_by_ = clock_->Now() + kFinishLimit;
  }

  void EndIfQuiet() {
    if (ending_ || (!recorder_->quiet() && clock_->Now() < end_by_)) return;
    recorder_->Stop();
    ending_ = true;
  }

  bool IsDue() const {
    return ending_ || (recorder_->due() != kNever && clock_->Now() >= recorder_->due());
  }

  Result<bool> PassOn(ControlRoad* road) {
    bool moved = false;
    blocked_ = false;
    while (road->CanTell(0)) {
      std::optional<std::vector<uint8_t>> chunk = recorder_->TakeChunk();
      if (!chunk) {
        if (ending_) RUEDA_RETURN_IF_ERROR(TellEnd(road));
        return moved || ending_;
      }
      RUEDA_RETURN_IF_ERROR(Tell(road, timeline::SpansMessage{session_, std::move(*chunk)}));
      moved = true;
    }
    blocked_ = true;
    return moved;
  }

  Status TellEnd(ControlRoad* road) {
    recording_ = false;
    leave_until_ = end_by_ = kNever;
    return Tell(road, timeline::EndMessage{session_, recorder_->dropped()});
  }

  static Status Tell(ControlRoad* road, const TimelineMessage& message) {
    return road->Tell({AsideTopic::kTimeline, 0, timeline::Encode(message)});
  }

  const std::shared_ptr<const Clock> clock_;
  const std::shared_ptr<timeline::Recorder> recorder_;
  uint32_t session_ = 0;
  bool recording_ = false;     // from Start until the end has been told
  bool ending_ = false;        // nothing more is recorded: what is there is passed on, then the end
  bool blocked_ = false;       // what is due found no room at the last try
  TimePoint end_by_ = kNever;  // once it is to end: when at the latest it records no more
  TimePoint leave_until_ = kNever;
  std::deque<timeline::ClockExchange> questions_;  // heard, not answered yet
};

}  // namespace

std::unique_ptr<Timeline> MakeTimelineClient(const EngineParts& parts,
                                             std::shared_ptr<timeline::Recorder> recorder) {
  return std::make_unique<TimelineClient>(parts.clock, std::move(recorder));
}

}  // namespace rueda::engine
