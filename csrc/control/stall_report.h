// StallReport: what a user reads when ranks are waited for. Pure: values in, words out.
//
// Bounded, whatever stalls: so many groups, names, ranks and lines are written out, the rest is
// counted. Everything that peers or users named is made printable.
#pragma once

#include <string>
#include <vector>

#include "control/rank_account.h"
#include "control/stall.h"
#include "core/types.h"

namespace rueda::control {

// A bucket that runs and has not moved for too long, or an offer that has not been answered.
struct QuietRun {
  std::string what;            // "allreduce 'x'"
  Duration age{};              // since it began to run, or to wait
  std::vector<int> waits_for;  // ranks, as far as its backend can tell
  bool is_offer = false;       // it waits for rank 0's answer
};

struct StallFindings {
  std::vector<Stall> stalls;  // oldest first
  std::vector<QuietRun> runs;
  std::vector<RankAccount> accounts;
  Duration next_report = Duration::zero();  // zero: not said
  Duration given_up_in = Duration::zero();  // zero: never
};

// Stalls of one kind and process set that wait for the same ranks.
struct StallGroup {
  OpKind kind = OpKind::kAllreduce;
  uint32_t process_set = 0;
  std::vector<int> missing_ranks;
  std::vector<const Stall*> stalls;
};
// In the order of their oldest members. The stalls outlive the groups.
std::vector<StallGroup> GroupStalls(const std::vector<Stall>& stalls);

struct StallReport {
  std::string headline;  // one line: for a launcher, and the first line of the text
  std::string text;      // all lines, joined by newlines, without one at the end
};
StallReport WordStallReport(const Topology& topology, const StallFindings& findings);

// "resumed after 37 s", or what became of it.
std::string WordStallEnd(Duration lasted, bool resumed);

// Every rank that a finding waits for, ascending.
std::vector<int> WaitedFor(const std::vector<Stall>& stalls, const std::vector<QuietRun>& runs);

// A rank's account for an error: a clause of one line, "is in load (data.py:17)".
inline std::string ShortAccount(const RankAccount& account) { return DoingClause(account); }

inline constexpr size_t kMaxAccounts = 8;  // ranks that are asked and described

}  // namespace rueda::control
