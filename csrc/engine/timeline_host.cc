// The timeline of rank 0: tells the others when to record, and hands everybody's spans to the
// writer.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/control_road.h"
#include "engine/timeline.h"
#include "timeline/timeline_message.h"
#include "timeline/trace_writer.h"

namespace rueda::engine {
namespace {

using timeline::ChunkOfRank;
using timeline::TimelineMessage;
using timeline::TraceWriter;

// How long Start waits until the others are told, and Stop for what they recorded. Both are over at
// once when the ranks answer; a rank that is stopped or busy as a whole does not.
constexpr Duration kTellLimit = std::chrono::milliseconds(500);
constexpr Duration kCollectLimit = std::chrono::seconds(5);
// The caller waits a little longer than the engine thread, which it waits for.
constexpr Duration kCallLimit = std::chrono::seconds(10);
// What others told goes to the writer together, when it is so much or has waited so long.
constexpr size_t kBatchBytes = size_t{256} << 10;
constexpr Duration kBatchAfter = std::chrono::milliseconds(250);
// The time is asked again when spans come and the last question is so old: clocks drift.
constexpr Duration kAskAgainAfter = std::chrono::milliseconds(100);

class TimelineHost final : public Timeline {
 public:
  TimelineHost(const EngineParts& parts, std::shared_ptr<timeline::Recorder> recorder)
      : topology_(parts.topology),
        clock_(parts.clock),
        log_(parts.log),
        parker_(parts.parker.get()),
        recorder_(std::move(recorder)),
        clients_(static_cast<size_t>(parts.topology.size)) {}

  Status Start(const std::string& path, bool mark_frames) override;
  Status Stop() override;
  void EpochEnded() override;

  Status Hear(const Aside& aside) override;
  Result<bool> Step(ControlRoad* road) override;
  TimePoint NextDeadline() const override;

 private:
  enum class Stage { kIdle, kStarting, kRecording, kStopping };
  struct Client {
    std::deque<TimelineMessage> to_tell;
    timeline::ClockOffset clock;
    TimePoint asked = TimePoint::min();  // or to be asked
    bool asking = false;
    bool recording = false;  // it was told to, and has not said that it ended
  };

  // The engine thread's.
  bool TakeCommand();
  void BeginRecording();
  void BeginStopping();
  Result<bool> TellClients(ControlRoad* road);
  Status TellNext(ControlRoad* road, int rank);
  void Heard(int rank, timeline::TellTimeMessage message);
  void Heard(int rank, timeline::SpansMessage message);
  void Heard(int rank, const timeline::EndMessage& message);
  void Ask(Client* client);
  bool PassOn(bool all);
  void TakeOwnChunks();
  bool Advance();
  void Collected();
  timeline::ClockReading ClockOf(const Client& client) const;
  TimePoint batch_due() const;

  // Sets the stage for the caller that waits for it.
  void Enter(Stage stage, TimePoint until);
  bool EpochIsOver();
  Status Ended() const;
  Status Await(std::unique_lock<std::mutex>& lock, Stage leaving);

  const Topology& topology_;
  const std::shared_ptr<const Clock> clock_;
  const Log log_;
  transport::Parker* const parker_;
  const std::shared_ptr<timeline::Recorder> recorder_;

  std::mutex calls_mutex_;  // one Start or Stop at a time; held while they wait

  std::mutex mutex_;
  std::condition_variable changed_;
  Stage stage_ = Stage::kIdle;            // guarded by mutex_; written by the engine thread
  bool over_ = false;                     // guarded by mutex_: no engine thread any more
  std::optional<Stage> command_;          // guarded by mutex_
  bool mark_frames_ = false;              // guarded by mutex_
  std::unique_ptr<TraceWriter> writer_;   // set and reset by calls, while the stage is kIdle
  std::atomic<bool> has_command_{false};  // release after command_, acquire before it is taken

  // The engine thread's.
  std::vector<Client> clients_;  // by rank; 0 stands for itself and is never told anything
  Stage own_stage_ = Stage::kIdle;
  TimePoint stage_until_ = kNever;
  uint32_t session_ = 0;
  std::vector<ChunkOfRank> batch_;
  size_t batch_bytes_ = 0;
  TimePoint batch_since_ = kNever;
};

Status TimelineHost::Start(const std::string& path, bool mark_frames) {
  const std::lock_guard one_call(calls_mutex_);
  if (EpochIsOver()) return Ended();
  if (writer_ != nullptr) {
    return {StatusCode::kInvalidArgument, "a timeline is being written to '" + writer_->path() +
                                              "' already; call stop_timeline() first"};
  }
  auto writer = TraceWriter::Open(path, topology_, clock_->Now(), log_);
  if (!writer.ok()) return writer.status();
  std::unique_lock lock(mutex_);
  writer_ = std::move(*writer);
  mark_frames_ = mark_frames;
  command_ = Stage::kStarting;
  const Status answered = Await(lock, Stage::kStarting);
  if (!std::exchange(command_, std::nullopt)) return answered;
  // The engine thread has not seen it, and never will.
  writer_.reset();
  return answered.ok() ? Ended() : answered;
}

bool TimelineHost::EpochIsOver() {
  const std::lock_guard lock(mutex_);
  return over_;
}

Status TimelineHost::Ended() const {
  return {StatusCode::kShutDown, "the job has ended: there is nothing to record"};
}

Status TimelineHost::Stop() {
  const std::lock_guard one_call(calls_mutex_);
  if (writer_ == nullptr) return Status::Ok();
  {
    std::unique_lock lock(mutex_);
    command_ = Stage::kStopping;
    RUEDA_RETURN_IF_ERROR(Await(lock, Stage::kStopping));
  }
  const Status written = writer_->Join();
  writer_.reset();
  return written;
}

// Until the engine thread has taken the command and gone through the stage.
Status TimelineHost::Await(std::unique_lock<std::mutex>& lock, Stage leaving) {
  has_command_.store(true, std::memory_order_release);
  parker_->Unpark();
  const bool done = changed_.wait_for(lock, kCallLimit,
                                      [&] { return over_ || (!command_ && stage_ != leaving); });
  if (done) return Status::Ok();
  return {StatusCode::kTimedOut, "the engine thread did not answer for " +
                                     std::to_string(kCallLimit / std::chrono::seconds(1)) +
                                     " s; is the process being debugged?"};
}

void TimelineHost::Enter(Stage stage, TimePoint until) {
  own_stage_ = stage;
  stage_until_ = until;
  {
    const std::lock_guard lock(mutex_);
    stage_ = stage;
  }
  changed_.notify_all();
}

bool TimelineHost::TakeCommand() {
  if (!has_command_.load(std::memory_order_acquire)) return false;
  has_command_.store(false, std::memory_order_relaxed);
  std::optional<Stage> command;
  {
    const std::lock_guard lock(mutex_);
    // The stage begins with the taking: a caller whose patience ends later withdraws nothing.
    command = std::exchange(command_, std::nullopt);
    if (command) stage_ = *command;
  }
  if (command == Stage::kStarting) BeginRecording();
  if (command == Stage::kStopping) BeginStopping();
  return true;
}

void TimelineHost::BeginRecording() {
  ++session_;
  recorder_->Clear();
  bool mark_frames = false;
  {
    const std::lock_guard lock(mutex_);
    mark_frames = mark_frames_;
  }
  recorder_->Start(mark_frames);
  for (size_t rank = 1; rank < clients_.size(); ++rank) {
    Client& client = clients_[rank];
    client = {};
    client.to_tell.push_back(timeline::StartMessage{session_, mark_frames});
    Ask(&client);
  }
  Enter(Stage::kStarting, clock_->Now() + kTellLimit);
}

void TimelineHost::BeginStopping() {
  recorder_->Stop();
  for (Client& client : clients_) {
    // Who could not even be told to start, because it left before, has nothing.
    client.to_tell.clear();
    if (client.recording) client.to_tell.push_back(timeline::StopMessage{session_});
  }
  Enter(Stage::kStopping, clock_->Now() + kCollectLimit);
}

void TimelineHost::Ask(Client* client) {
  client->asking = true;
  client->asked = clock_->Now();
  client->to_tell.push_back(timeline::AskTimeMessage{});
}

Status TimelineHost::Hear(const Aside& aside) {
  Result<TimelineMessage> message = timeline::DecodeTimelineMessage(aside.body);
  if (!message.ok()) return message.status();
  if (auto* time = std::get_if<timeline::TellTimeMessage>(&*message)) {
    Heard(aside.rank, *time);
  } else if (auto* spans = std::get_if<timeline::SpansMessage>(&*message)) {
    Heard(aside.rank, std::move(*spans));
  } else if (auto* end = std::get_if<timeline::EndMessage>(&*message)) {
    Heard(aside.rank, *end);
  } else {
    return {StatusCode::kCorrupt, topology_.Describe(aside.rank) +
                                      " sent a message about the timeline that only rank 0 sends"};
  }
  return Status::Ok();
}

void TimelineHost::Heard(int rank, timeline::TellTimeMessage message) {
  Client& client = clients_[static_cast<size_t>(rank)];
  message.exchange.received = recorder_->Now();
  client.clock.Add(message.exchange);
  client.asking = false;
  // At first one question after the other, until there are as many answers as are compared.
  if (!client.clock.settled() && client.recording) Ask(&client);
}

void TimelineHost::Heard(int rank, timeline::SpansMessage message) {
  if (own_stage_ == Stage::kIdle || message.session != session_) return;
  Client& client = clients_[static_cast<size_t>(rank)];
  const TimePoint now = clock_->Now();
  if (!client.asking && client.recording && now - client.asked >= kAskAgainAfter) Ask(&client);
  if (batch_.empty()) batch_since_ = now;
  batch_bytes_ += message.chunk.size();
  batch_.push_back({rank, ClockOf(client), std::move(message.chunk)});
}

void TimelineHost::Heard(int rank, const timeline::EndMessage& message) {
  if (own_stage_ == Stage::kIdle || message.session != session_) return;
  clients_[static_cast<size_t>(rank)].recording = false;
  clients_[static_cast<size_t>(rank)].to_tell.clear();
  if (message.dropped > 0) writer_->NoteDropped(rank, message.dropped);
}

timeline::ClockReading TimelineHost::ClockOf(const Client& client) const {
  return {client.clock.offset(), client.clock.measured(), client.clock.error()};
}

Result<bool> TimelineHost::Step(ControlRoad* road) {
  bool moved = TakeCommand();
  if (own_stage_ == Stage::kIdle) return moved;
  Result<bool> told = TellClients(road);
  if (!told.ok()) return told;
  moved |= *told;
  moved |= PassOn(false);
  return Advance() || moved;
}

Result<bool> TimelineHost::TellClients(ControlRoad* road) {
  bool moved = false;
  for (size_t rank = 1; rank < clients_.size(); ++rank) {
    while (!clients_[rank].to_tell.empty() && road->CanTell(static_cast<int>(rank))) {
      RUEDA_RETURN_IF_ERROR(TellNext(road, static_cast<int>(rank)));
      moved = true;
    }
  }
  return moved;
}

Status TimelineHost::TellNext(ControlRoad* road, int rank) {
  Client& client = clients_[static_cast<size_t>(rank)];
  TimelineMessage message = client.to_tell.front();
  client.to_tell.pop_front();
  if (std::holds_alternative<timeline::StartMessage>(message)) client.recording = true;
  if (auto* question = std::get_if<timeline::AskTimeMessage>(&message)) {
    question->asked = recorder_->Now();
  }
  return road->Tell({AsideTopic::kTimeline, rank, timeline::Encode(message)});
}

TimePoint TimelineHost::batch_due() const {
  if (batch_bytes_ >= kBatchBytes) return TimePoint{};
  const TimePoint told = batch_.empty() ? kNever : batch_since_ + kBatchAfter;
  return std::min(told, recorder_->due());
}

// Hands to the writer what is due, or all there is.
bool TimelineHost::PassOn(bool all) {
  const TimePoint due = batch_due();
  if (!all && (due == kNever || clock_->Now() < due)) return false;
  TakeOwnChunks();
  if (batch_.empty()) return false;
  writer_->Take(std::exchange(batch_, {}));
  batch_bytes_ = 0;
  batch_since_ = kNever;
  return true;
}

void TimelineHost::TakeOwnChunks() {
  while (std::optional<std::vector<uint8_t>> chunk = recorder_->TakeChunk()) {
    batch_.push_back({0, {}, std::move(*chunk)});
  }
}

// Leaves a stage once it is through, or its time is over.
bool TimelineHost::Advance() {
  if (own_stage_ != Stage::kStarting && own_stage_ != Stage::kStopping) return false;
  const bool late = clock_->Now() >= stage_until_;
  if (own_stage_ == Stage::kStarting) {
    const bool told = std::none_of(clients_.begin() + 1, clients_.end(),
                                   [](const Client& client) { return !client.recording; });
    if (!told && !late) return false;
    Enter(Stage::kRecording, kNever);
    return true;
  }
  const bool ended = std::none_of(clients_.begin(), clients_.end(),
                                  [](const Client& client) { return client.recording; });
  if (!ended && !late) return false;
  Collected();
  return true;
}

void TimelineHost::Collected() {
  PassOn(true);
  std::vector<int> missing;
  for (size_t rank = 1; rank < clients_.size(); ++rank) {
    if (clients_[rank].recording) missing.push_back(static_cast<int>(rank));
    clients_[rank].recording = false;
    clients_[rank].to_tell.clear();
  }
  if (recorder_->dropped() > 0) writer_->NoteDropped(0, recorder_->dropped());
  writer_->Finish(std::move(missing));
  Enter(Stage::kIdle, kNever);
}

TimePoint TimelineHost::NextDeadline() const {
  return own_stage_ == Stage::kIdle ? kNever : std::min(stage_until_, batch_due());
}

void TimelineHost::EpochEnded() {
  recorder_->Stop();
  if (own_stage_ != Stage::kIdle) Collected();
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
}

}  // namespace

std::unique_ptr<Timeline> MakeTimelineHost(const EngineParts& parts,
                                           std::shared_ptr<timeline::Recorder> recorder) {
  return std::make_unique<TimelineHost>(parts, std::move(recorder));
}

std::unique_ptr<Timeline> MakeTimeline(const EngineParts& parts,
                                       std::shared_ptr<timeline::Recorder> recorder) {
  const bool host = parts.topology.rank == 0;
  return host ? MakeTimelineHost(parts, std::move(recorder))
              : MakeTimelineClient(parts, std::move(recorder));
}

}  // namespace rueda::engine
