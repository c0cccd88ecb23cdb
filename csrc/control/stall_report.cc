#include "control/stall_report.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "control/process_sets.h"
#include "control/words.h"

namespace rueda::control {
namespace {

constexpr size_t kMaxGroups = 8;
constexpr size_t kMaxNames = 4;       // of one group
constexpr size_t kMaxNameBytes = 80;  // of one name in a list
constexpr size_t kMaxStackLines = 16;
constexpr size_t kMaxLineBytes = 160;

std::string Named(std::string_view name) { return "'" + Printable(name, kMaxNameBytes) + "'"; }

// "'a', 'b' and 3 more"; `names` are the first of `count`.
std::string NameList(const std::vector<std::string>& names, size_t count) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    const bool last = i + 1 == names.size() && names.size() == count;
    text += (i == 0 ? "" : last ? " and " : ", ") + names[i];
  }
  if (count > names.size()) text += " and " + std::to_string(count - names.size()) + " more";
  return text;
}

// "'x'", or of a group "'gradients.0' of 12 tensors ('fc.weight', 'fc.bias' and 10 more)".
std::string StallName(const Stall& stall) {
  if (stall.tensor_count < 2) return Named(stall.name);
  std::vector<std::string> tensors;
  for (const std::string& tensor : stall.tensors) tensors.push_back(Named(tensor));
  return Named(stall.name) + " of " + std::to_string(stall.tensor_count) + " tensors (" +
         NameList(tensors, stall.tensor_count) + ")";
}

std::string Members(uint32_t process_set) {
  if (process_set == 0 || process_set >= kPairBit) return "";
  return " in process set " + std::to_string(process_set);
}

// "allreduce 'a', 'b' and 3 more wait for rank 1 (pid 4711 on node7)".
std::string GroupLine(const Topology& topology, const StallGroup& group) {
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min(kMaxNames, group.stalls.size()); ++i) {
    names.push_back(StallName(*group.stalls[i]));
  }
  return std::string(NameOf(group.kind)) + " " + NameList(names, group.stalls.size()) +
         Members(group.process_set) + (group.stalls.size() == 1 ? " waits for " : " wait for ") +
         NamedRankList(topology, group.missing_ranks);
}

std::string RunLine(const Topology& topology, const QuietRun& run) {
  if (run.is_offer) {
    return run.what + " has waited " + DurationText(run.age) + " for the answer of " +
           NamedRankList(topology, run.waits_for);
  }
  std::string text = run.what + " has run for " + DurationText(run.age);
  if (!run.waits_for.empty()) {
    text += "; still waiting for " + NamedRankList(topology, run.waits_for);
  }
  return text;
}

const RankAccount* AccountOf(const StallFindings& findings, int rank) {
  const auto found = std::find_if(findings.accounts.begin(), findings.accounts.end(),
                                  [&](const RankAccount& account) { return account.rank == rank; });
  return found == findings.accounts.end() ? nullptr : &*found;
}

// Of one rank: ", which is stopped".
std::string WhichDoes(const StallFindings& findings, const std::vector<int>& ranks) {
  if (ranks.size() != 1) return "";
  const RankAccount* account = AccountOf(findings, ranks.front());
  return account == nullptr ? "" : ", which " + DoingClause(*account);
}

std::string Headline(const Topology& topology, const StallFindings& findings,
                     const std::vector<StallGroup>& groups) {
  if (groups.empty() && !findings.runs.empty()) {
    const QuietRun& run = findings.runs.front();
    return RunLine(topology, run) + WhichDoes(findings, run.waits_for);
  }
  const std::vector<int> waited = WaitedFor(findings.stalls, {});
  const std::string since = "stalled for " + DurationText(findings.stalls.front().age) + ": ";
  if (groups.size() == 1)
    return since + GroupLine(topology, groups[0]) + WhichDoes(findings, waited);
  return since + std::to_string(findings.stalls.size()) + " collectives wait for " +
         NamedRankList(topology, waited);
}

// Lines of a text from another process, each printable, so many of them.
void AddStack(std::string_view program, std::vector<std::string>* lines) {
  for (size_t end = program.find('\n'); end != std::string_view::npos; end = program.find('\n')) {
    program.remove_prefix(end + 1);
    if (program.empty() || lines->size() == kMaxStackLines) return;
    lines->push_back("  " + Printable(program.substr(0, program.find('\n')), kMaxLineBytes));
  }
}

std::string LastLine(const RankFacts& facts) {
  if (facts.last.empty()) return "it has taken part in no collective yet";
  return "its last collective was number " + std::to_string(facts.finished) + ", " +
         Printable(facts.last, kMaxLineBytes) + ", " + DurationText(facts.last_ago) + " ago";
}

std::string InFlightLine(const RankFacts& facts) {
  std::vector<std::string> names;
  for (const std::string& name : facts.in_flight) names.push_back(Printable(name, kMaxLineBytes));
  const size_t count = std::max<size_t>(facts.in_flight_count, names.size());
  return "it has in flight: " + NameList(names, count);
}

std::string RunningLine(const Topology& topology, const RankFacts& facts) {
  QuietRun run{Printable(facts.running, kMaxLineBytes), facts.running_for, {}, false};
  for (const int rank : facts.waits_for) {
    if (rank >= 0 && rank < topology.size) run.waits_for.push_back(rank);
  }
  std::sort(run.waits_for.begin(), run.waits_for.end());
  return RunLine(topology, run);
}

// `is_told`: the headline says what the rank does.
void AddAccount(const Topology& topology, const RankAccount& account, bool is_told,
                std::vector<std::string>* lines) {
  const std::string indent = is_told ? "  " : "    ";
  if (!is_told) {
    lines->push_back("  " + topology.Describe(account.rank) + " " + DoingClause(account));
  }
  std::vector<std::string> told;
  if (account.facts) {
    told.push_back(LastLine(*account.facts));
    if (!account.facts->running.empty()) told.push_back(RunningLine(topology, *account.facts));
    if (!account.facts->in_flight.empty()) told.push_back(InFlightLine(*account.facts));
  }
  std::vector<std::string> stack;
  if (account.program) AddStack(*account.program, &stack);
  if (!stack.empty()) told.push_back("its main thread, most recent call last:");
  told.insert(told.end(), stack.begin(), stack.end());
  for (const std::string& line : told) lines->push_back(indent + line);
}

void AddOutlook(const StallFindings& findings, std::vector<std::string>* lines) {
  std::string text;
  if (findings.next_report > Duration::zero()) {
    text = "next report in " + DurationText(findings.next_report) + ", unless it goes on";
  }
  if (findings.given_up_in > Duration::zero()) {
    text += (text.empty() ? "" : "; ") + std::string("given up in ") +
            DurationText(findings.given_up_in) + " (RUEDA_STALL_SHUTDOWN_TIME_SECONDS)";
  }
  if (!text.empty()) lines->push_back("  " + text);
}

}  // namespace

std::vector<StallGroup> GroupStalls(const std::vector<Stall>& stalls) {
  std::vector<StallGroup> groups;
  for (const Stall& stall : stalls) {
    auto group = std::find_if(groups.begin(), groups.end(), [&](const StallGroup& known) {
      return known.kind == stall.kind && known.process_set == stall.process_set &&
             known.missing_ranks == stall.missing_ranks;
    });
    if (group == groups.end()) {
      groups.push_back({stall.kind, stall.process_set, stall.missing_ranks, {}});
      group = groups.end() - 1;
    }
    group->stalls.push_back(&stall);
  }
  return groups;
}

std::vector<int> WaitedFor(const std::vector<Stall>& stalls, const std::vector<QuietRun>& runs) {
  std::set<int> ranks;
  for (const Stall& stall : stalls) {
    ranks.insert(stall.missing_ranks.begin(), stall.missing_ranks.end());
  }
  for (const QuietRun& run : runs) ranks.insert(run.waits_for.begin(), run.waits_for.end());
  return {ranks.begin(), ranks.end()};
}

StallReport WordStallReport(const Topology& topology, const StallFindings& findings) {
  const std::vector<StallGroup> groups = GroupStalls(findings.stalls);
  StallReport report;
  report.headline = Headline(topology, findings, groups);
  std::vector<std::string> lines{report.headline};
  if (groups.size() > 1) {
    for (size_t i = 0; i < std::min(kMaxGroups, groups.size()); ++i) {
      lines.push_back("  " + GroupLine(topology, groups[i]));
    }
    if (groups.size() > kMaxGroups) {
      lines.push_back("  and " + std::to_string(groups.size() - kMaxGroups) + " more such groups");
    }
  }
  for (size_t i = groups.empty() ? 1 : 0; i < std::min(kMaxGroups, findings.runs.size()); ++i) {
    lines.push_back("  " + RunLine(topology, findings.runs[i]));
  }
  const size_t waited = WaitedFor(findings.stalls, findings.runs).size();
  const bool is_told = waited == 1 && groups.size() + findings.runs.size() == 1;
  for (const RankAccount& account : findings.accounts) {
    AddAccount(topology, account, is_told, &lines);
  }
  if (waited > findings.accounts.size() && !findings.accounts.empty()) {
    lines.push_back("  " + std::to_string(waited - findings.accounts.size()) +
                    " more ranks were not asked");
  }
  AddOutlook(findings, &lines);
  for (const std::string& line : lines) report.text += (report.text.empty() ? "" : "\n") + line;
  return report;
}

std::string WordStallEnd(Duration lasted, bool resumed) {
  if (resumed) return "resumed after " + DurationText(lasted) + ": all that had stalled went on";
  return "the stall is over after " + DurationText(lasted) + ": what waited ended with an error";
}

}  // namespace rueda::control
