#include "engine/stall_inspector.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "transport/process_state.h"

namespace rueda::engine {
namespace {

// How long the ranks that are waited for have to answer. One whose Python runs needs milliseconds.
constexpr Duration kPatience = std::chrono::milliseconds(750);
// How long before a request is given up its ranks are asked once more.
constexpr Duration kLongestLead = std::chrono::seconds(1);

}  // namespace

StallInspector::StallInspector(const EngineParts* parts, SubmissionTable* table,
                               const Executor* executor)
    : parts_(parts),
      table_(table),
      executor_(executor),
      limit_(parts->coordinator.stall_warning),
      give_up_after_(parts->coordinator.stall_shutdown),
      witness_(parts, table, executor),
      pace_(limit_) {}

Status StallInspector::Hear(const Aside& aside) {
  Result<control::StallMessage> message = control::DecodeStallMessage(aside.body);
  if (!message.ok()) return message.status();
  if (const auto* question = std::get_if<control::StallQuestion>(&*message)) {
    witness_.Hear(*question, aside.rank);
    return Status::Ok();
  }
  if (!inquiry_) return Status::Ok();
  const auto account =
      std::find_if(inquiry_->accounts.begin(), inquiry_->accounts.end(),
                   [&](const control::RankAccount& known) { return known.rank == aside.rank; });
  if (account == inquiry_->accounts.end()) return Status::Ok();
  if (auto* facts = std::get_if<control::FactsAnswer>(&*message)) {
    if (facts->number == inquiry_->number) account->facts = std::move(facts->facts);
  } else if (auto* program = std::get_if<control::ProgramAnswer>(&*message)) {
    if (program->number == inquiry_->number) account->program = std::move(program->text);
  }
  return Status::Ok();
}

Result<bool> StallInspector::Step(ControlRoad* road) {
  Result<bool> answered = witness_.Step(road);
  if (!answered.ok()) return answered;
  coordinator_ = road->coordinator();
  if (HasNothingToWatch()) return answered;  // the clock is not even read
  const TimePoint now = parts_->clock->Now();
  std::vector<control::Stall> fresh;
  if (coordinator_ != nullptr) fresh = coordinator_->TakeStalls(now);
  const bool withheld = coordinator_ != nullptr && coordinator_->stall_tally().open > 0;
  const bool stalls = withheld || SeesQuiet(now) || SeesUnanswered(now);
  const bool began = stalls && !stalls_;
  stalls_ = stalls;
  if (began && coordinator_ != nullptr) tally_before_ = coordinator_->stall_tally();
  if (!stalls_) CheckOver(now);
  if (!inquiry_) {
    std::vector<int> ranks;
    if (stalls_ && IsWorthALook(fresh, began, now, &ranks)) {
      Begin(ranks, true, now);
    } else if (now >= LastChance()) {
      Begin(coordinator_->missing_at_give_up(), false, now);
    }
  }
  if (!inquiry_) return answered;
  RUEDA_RETURN_IF_ERROR(Ask(road));
  if (now >= inquiry_->deadline || HasAllAnswers()) Conclude(now);
  return answered;
}

bool StallInspector::HasNothingToWatch() const {
  const bool is_awaited = coordinator_ != nullptr && coordinator_->NextDeadline() != kNever;
  return !is_awaited && executor_->idle() && !stalls_ && !inquiry_ && unanswered_.since == kNever;
}

TimePoint StallInspector::NextDeadline() const {
  TimePoint next = LastChance();
  if (inquiry_) {
    next = inquiry_->deadline;
  } else if (stalls_) {
    next = std::min(next, look_again_);
  } else if (Warns()) {
    next = std::min({next, After(executor_->quiet_since(), limit_), UnansweredDeadline()});
  }
  return next;
}

void StallInspector::NoteUnanswered() const {
  const SubmissionTable::Glance glance = table_->SomeInFlight(0);
  const int64_t completed = executor_->last_run().completed;
  if (glance.count == 0 || !executor_->idle()) {
    unanswered_ = {};
  } else if (unanswered_.since == kNever || completed != unanswered_.completed ||
             glance.count != unanswered_.in_flight) {
    unanswered_ = {completed, glance.count, parts_->clock->Now()};
  }
}

// Rank 0 reports what others withhold before its clients ask whether it is still there.
TimePoint StallInspector::UnansweredDeadline() const {
  if (parts_->topology.rank == 0) return kNever;
  NoteUnanswered();
  return After(unanswered_.since, limit_ + 2 * kPatience);
}

bool StallInspector::SeesUnanswered(TimePoint now) const {
  const auto is_due = [&] { return After(unanswered_.since, limit_ + 2 * kPatience) <= now; };
  if (!Warns() || parts_->topology.rank == 0 || !is_due()) return false;
  NoteUnanswered();  // it may have been answered since this thread slept
  return is_due();
}

control::QuietRun StallInspector::UnansweredOffer(TimePoint now) const {
  const SubmissionTable::Glance glance = table_->SomeInFlight(1);
  std::string what = glance.some.empty() ? "a collective" : glance.some.front();
  if (glance.count > 1) what += " and " + std::to_string(glance.count - 1) + " more";
  return {control::Printable(what, control::kMaxFactBytes), now - unanswered_.since, {0}, true};
}

bool StallInspector::SeesQuiet(TimePoint now) const {
  return Warns() && After(executor_->quiet_since(), limit_) <= now;
}

bool StallInspector::IsWorthALook(const std::vector<control::Stall>& fresh, bool began,
                                  TimePoint now, std::vector<int>* ranks) {
  // What has just come past the limit is looked at for ranks that were not named before; all that
  // stalls, which may be much, only when a report is due.
  const bool due = began || now >= look_again_;
  if (!due && fresh.empty()) return false;
  const std::vector<control::QuietRun> runs =
      due ? QuietRuns(now) : std::vector<control::QuietRun>();
  const std::vector<control::Stall> stalls =
      due && coordinator_ != nullptr ? coordinator_->OpenStalls(now) : fresh;
  look_again_ = After(now, limit_);
  if (stalls.empty() && runs.empty()) return false;
  *ranks = control::WaitedFor(stalls, runs);
  const bool worth = pace_.Look(*ranks, now) != control::StallPace::Due::kNo;
  look_again_ = std::max(pace_.next(), now);
  return worth;
}

std::vector<control::QuietRun> StallInspector::QuietRuns(TimePoint now) const {
  std::vector<control::QuietRun> quiet;
  // All that wait for rank 0 see the same; one says it.
  if (SeesUnanswered(now) && parts_->topology.rank == 1) quiet.push_back(UnansweredOffer(now));
  if (!SeesQuiet(now)) return quiet;
  for (Executor::RunView& run : executor_->Runs()) {
    if (After(run.quiet_since, limit_) > now || !SpeaksFor(*run.ranks, run.waits_for)) continue;
    std::sort(run.waits_for.begin(), run.waits_for.end());
    quiet.push_back({std::move(run.description), now - run.begun, std::move(run.waits_for), false});
  }
  return quiet;
}

// The lowest member of the set that can speak does: one report, not one of each rank.
bool StallInspector::SpeaksFor(const std::vector<int>& ranks,
                               const std::vector<int>& waits_for) const {
  for (const int rank : ranks) {
    if (rank == parts_->topology.rank) return true;
    const bool waited_for = std::find(waits_for.begin(), waits_for.end(), rank) != waits_for.end();
    int64_t pid = 0;
    const char state = waited_for ? ProcessOf(rank, &pid) : 'S';
    if (state == 'S' || state == 'R') return false;  // it waits as this rank does, and says so
  }
  return true;
}

TimePoint StallInspector::LastChance() const {
  if (coordinator_ == nullptr || give_up_after_ <= Duration::zero()) return kNever;
  const TimePoint at = coordinator_->next_give_up();
  if (at == kNever) return kNever;
  const Duration lead = std::min(kLongestLead, give_up_after_ / 2);
  // Not again for each of many that are given up one after another.
  const TimePoint chance = std::max(at - lead, After(inquired_at_, lead));
  return chance < at ? chance : kNever;
}

void StallInspector::Begin(const std::vector<int>& ranks, bool is_for_report, TimePoint now) {
  inquired_at_ = now;
  inquiry_.emplace();
  inquiry_->number = ++inquiries_;
  inquiry_->is_for_report = is_for_report;
  inquiry_->deadline = now + kPatience;
  if (const TimePoint at = coordinator_ != nullptr ? coordinator_->next_give_up() : kNever;
      at > now && at != kNever) {
    // In time for the error, with something left for wording it.
    const Duration reserve = std::min(kLongestLead, give_up_after_ / 2) / 4;
    inquiry_->deadline = std::clamp(at - reserve, now, inquiry_->deadline);
  }
  for (const int rank : ranks) {
    if (inquiry_->accounts.size() == control::kMaxAccounts) break;
    control::RankAccount& account = inquiry_->accounts.emplace_back();
    account.rank = rank;
    if (rank == parts_->topology.rank) {
      account.facts = witness_.Facts();
      witness_.program().Ask();
    } else {
      inquiry_->unasked.push_back(rank);
    }
  }
}

Status StallInspector::Ask(ControlRoad* road) {
  std::vector<int>& unasked = inquiry_->unasked;
  for (auto rank = unasked.begin(); rank != unasked.end();) {
    if (!road->CanTell(*rank)) {
      ++rank;
      continue;
    }
    const control::StallQuestion question{inquiry_->number};
    RUEDA_RETURN_IF_ERROR(
        road->Tell({AsideTopic::kStall, *rank, control::EncodeStallMessage(question)}));
    rank = unasked.erase(rank);
  }
  for (control::RankAccount& account : inquiry_->accounts) {
    if (account.rank != parts_->topology.rank) continue;
    if (auto text = witness_.program().Take()) account.program = std::move(text);
  }
  return Status::Ok();
}

bool StallInspector::HasAllAnswers() const {
  return std::all_of(inquiry_->accounts.begin(), inquiry_->accounts.end(), [](const auto& account) {
    return account.facts && (account.program || !account.facts->program_follows);
  });
}

void StallInspector::Conclude(TimePoint now) {
  Inquiry inquiry = *std::exchange(inquiry_, std::nullopt);
  for (control::RankAccount& account : inquiry.accounts) {
    if (!account.facts) account.process = ProcessOf(account.rank, &account.local_pid);
    if (coordinator_ != nullptr) coordinator_->Account(account.rank, control::DoingClause(account));
    // A rank 0 that answers reports by itself; it is asked again later.
    if (coordinator_ == nullptr && account.rank == 0 && account.facts) unanswered_.since = now;
  }
  if (inquiry.is_for_report) Report(std::move(inquiry.accounts), now);
}

void StallInspector::Report(std::vector<control::RankAccount> accounts, TimePoint now) {
  control::StallFindings findings;
  if (coordinator_ != nullptr) findings.stalls = coordinator_->OpenStalls(now);
  findings.runs = QuietRuns(now);
  if (findings.stalls.empty() && findings.runs.empty()) return;  // it was over before it was said
  const std::vector<int> waited = control::WaitedFor(findings.stalls, findings.runs);
  std::erase_if(accounts, [&](const control::RankAccount& account) {
    return !std::binary_search(waited.begin(), waited.end(), account.rank);
  });
  findings.accounts = std::move(accounts);
  pace_.Reported(waited, now);
  look_again_ = pace_.next();
  findings.next_report = look_again_ - now;
  if (coordinator_ != nullptr && coordinator_->next_give_up() != kNever) {
    findings.given_up_in = std::max(Duration::zero(), coordinator_->next_give_up() - now);
  }
  began_ = now;
  if (!findings.stalls.empty()) began_ = now - findings.stalls.front().age;
  for (const control::QuietRun& run : findings.runs) {
    began_ = std::min(began_, now - run.age);
  }
  const control::StallReport report = control::WordStallReport(parts_->topology, findings);
  Say(report.headline, report.text);
}

void StallInspector::CheckOver(TimePoint now) {
  if (inquiry_ && inquiry_->is_for_report) inquiry_.reset();
  if (!pace_.Over(now)) return;
  bool resumed = true;
  if (coordinator_ != nullptr) {
    const control::StallTally tally = coordinator_->stall_tally();
    resumed = tally.failed == tally_before_.failed;
  }
  const std::string text = control::WordStallEnd(now - began_, resumed);
  Say(text, text);
}

// The state of a peer's process as it can be seen from here; 0 if it cannot.
char StallInspector::ProcessOf(int rank, int64_t* pid) const {
  *pid = parts_->membership != nullptr ? parts_->membership->LocalPid(rank) : 0;
  const std::vector<PeerName>& peers = parts_->topology.peers;
  if (*pid == 0 && !peers.empty()) {
    const PeerName& own = peers[static_cast<size_t>(parts_->topology.rank)];
    const PeerName& other = peers[static_cast<size_t>(rank)];
    if (own.host == other.host) *pid = other.pid;
  }
  return *pid < 0 ? 'X' : transport::ProcessState(*pid);
}

void StallInspector::Say(const std::string& headline, const std::string& text) const {
  parts_->log(LogLevel::kWarning, text);
  if (parts_->hooks.tell_launcher) parts_->hooks.tell_launcher(headline, text);
}

}  // namespace rueda::engine
