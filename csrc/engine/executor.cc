#include "engine/executor.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/text.h"

namespace rueda::engine {

Executor::Executor(const Topology* topology, std::unique_ptr<backends::Backend> backend,
                   SubmissionTable* table, const Clock* clock)
    : topology_(topology), table_(table), clock_(clock), concurrent_(backend->concurrent()) {
  std::vector<int> all(static_cast<size_t>(topology->size));
  std::iota(all.begin(), all.end(), 0);
  roads_.emplace(0, Road{std::move(all), std::move(backend), nullptr});
  lanes_.try_emplace(0);
}

Status Executor::AddSet(uint32_t id, std::vector<int> ranks, std::vector<int64_t> memory,
                        std::shared_ptr<const void> own) {
  auto backend = root().backend->Split({id, ranks, std::move(memory)});
  if (!backend.ok()) return backend.status();
  roads_.emplace(id, Road{std::move(ranks), std::move(*backend), std::move(own)});
  return Status::Ok();
}

void Executor::RemoveSet(uint32_t id, Work* work) {
  Item end;
  end.job.completes.push_back(work);
  end.road = &roads_.at(id);
  end.ends_set = id;
  LaneOf(id).items.push_back(std::move(end));
}

const std::vector<int>* Executor::RanksOf(uint32_t process_set) const {
  const auto road = roads_.find(process_set);
  return road == roads_.end() ? nullptr : &road->second.ranks;
}

void Executor::Enqueue(BucketJob job, Duration run_timeout) {
  const uint32_t set = job.planned->bucket.process_set;
  LaneOf(set).items.push_back({std::move(job), run_timeout, &roads_.at(set), 0});
}

Executor::Lane& Executor::LaneOf(uint32_t process_set) {
  return lanes_[concurrent_ ? process_set : 0];
}

Result<bool> Executor::Step() {
  bool moved = false;
  for (auto lane = lanes_.begin(); lane != lanes_.end();) {
    Result<bool> stepped = StepLane(lane->second);
    if (!stepped.ok()) return stepped;
    moved |= *stepped;
    const bool over = lane->second.items.empty() && !roads_.contains(lane->first);
    lane = over ? lanes_.erase(lane) : std::next(lane);
  }
  return moved;
}

Result<bool> Executor::StepLane(Lane& lane) {
  if (lane.items.empty()) return false;
  Item& front = lane.items.front();
  if (front.ends_set != 0) {
    roads_.erase(front.ends_set);
    Finish(lane, Status::Ok());
    return true;
  }
  if (lane.run == nullptr) {
    // What the backend cannot do it cannot do on any rank: that answer is the work's own (I3).
    const Status supported = front.road->backend->Supports(front.job.planned->bucket);
    if (!supported.ok()) {
      Finish(lane, supported);
      return true;
    }
    RUEDA_RETURN_IF_ERROR(Begin(lane));
  }
  Result<backends::Progress> progress = lane.run->Step();
  if (!progress.ok()) return progress.status();
  if (*progress == backends::Progress::kDone) Finish(lane, Status::Ok());
  if (*progress != backends::Progress::kWaiting) return lane.moved = true;
  const TimePoint now = clock_->Now();
  if (std::exchange(lane.moved, false)) lane.quiet_since = now;
  RUEDA_RETURN_IF_ERROR(CheckDeadline(lane, now));
  return false;
}

Status Executor::Begin(Lane& lane) {
  Item& next = lane.items.front();
  // Before the backend's other threads may touch it.
  lane.begun = clock_->Now();
  next.job.number = ++next.road->buckets;
  if (table_->tracer().on()) {
    table_->tracer().Began(next.job, lane.begun.time_since_epoch().count());
  }
  Result<backends::Run*> run =
      next.road->backend->Begin(next.job.planned->bucket, next.job.buffers);
  if (!run.ok()) return run.status();
  lane.run = *run;
  lane.quiet_since = lane.begun;
  lane.moved = false;
  lane.deadline = lane.begun + next.run_timeout;
  return Status::Ok();
}

std::vector<int> Executor::WaitsFor(const Lane& lane) const {
  std::vector<int> ranks;
  for (const int member : lane.run->WaitsFor()) {
    ranks.push_back(lane.items.front().road->ranks[static_cast<size_t>(member)]);
  }
  return ranks;
}

Status Executor::CheckDeadline(const Lane& lane, TimePoint now) const {
  if (now < lane.deadline) return Status::Ok();
  const Item& running = lane.items.front();
  std::string text = running.job.description + " ran longer than " +
                     FormatSeconds(std::chrono::duration<double>(running.run_timeout).count()) +
                     " s (RUEDA_TIMEOUT_SECONDS)";
  const std::vector<int> missing = WaitsFor(lane);
  for (size_t i = 0; i < missing.size(); ++i) {
    text += (i == 0 ? "; still waiting for " : ", ") + topology_->Describe(missing[i]);
  }
  text += ". Is that process stopped, or its host overloaded?";
  Status status(StatusCode::kTimedOut, text);
  // Of several, all but one may wait themselves: a ring's members do.
  return missing.size() == 1 ? status.Blame(missing.front()) : status;
}

void Executor::Finish(Lane& lane, const Status& status) {
  lane.run = nullptr;
  lane.deadline = kNever;
  lane.quiet_since = kNever;
  const Item done = std::move(lane.items.front());
  lane.items.pop_front();
  if (done.job.number != 0 && table_->tracer().on()) {
    table_->tracer().Ended(done.job, lane.begun.time_since_epoch().count(), status);
  }
  // A work that lost a part is not saved by its other parts.
  if (!status.ok()) {
    for (Work* work : done.job.touches) work->failure = status;
  }
  if (!done.job.completes.empty() && done.ends_set == 0) {
    last_run_.request = done.job.completes.back()->submission.request;
    last_run_.at = clock_->Now();
    last_run_.completed += static_cast<int64_t>(done.job.completes.size());
  }
  if (tuner_ != nullptr) {
    for (const Work* work : done.job.completes) tuner_->Completed(*work->submission.request);
  }
  table_->Complete(done.job.completes);
}

void Executor::RanAside(const Work& work) {
  last_run_ = {work.submission.request, clock_->Now(), last_run_.completed + 1};
}

bool Executor::idle() const {
  return std::all_of(lanes_.begin(), lanes_.end(),
                     [](const auto& lane) { return lane.second.items.empty(); });
}

TimePoint Executor::deadline() const {
  TimePoint first = kNever;
  for (const auto& [set, lane] : lanes_) first = std::min(first, lane.deadline);
  return first;
}

TimePoint Executor::quiet_since() const {
  TimePoint first = kNever;
  for (const auto& [set, lane] : lanes_) first = std::min(first, lane.quiet_since);
  return first;
}

std::vector<Executor::RunView> Executor::Runs() const {
  std::vector<RunView> runs;
  for (const auto& [set, lane] : lanes_) {
    if (lane.run == nullptr) continue;
    const Item& front = lane.items.front();
    runs.push_back(
        {front.job.description, lane.begun, lane.quiet_since, &front.road->ranks, WaitsFor(lane)});
  }
  return runs;
}

void Executor::Abort(const Status& why) {
  for (const auto& [set, lane] : lanes_) {
    if (lane.run == nullptr || !table_->tracer().on()) continue;
    table_->tracer().Ended(lane.items.front().job, lane.begun.time_since_epoch().count(), why);
  }
  for (auto& [set, road] : roads_) {
    if (road.backend != nullptr) road.backend->Abort(why);
  }
}

void Executor::DropBackends() {
  // The backend of all ranks, set 0, outlives those that were split from it.
  for (auto road = roads_.rbegin(); road != roads_.rend(); ++road) road->second.backend.reset();
  for (auto& [set, lane] : lanes_) lane.run = nullptr;
}

}  // namespace rueda::engine
