// What a rank that others wait for tells of itself: questions and answers of the stall report.
//
// Values and their bytes. Answers come from other processes: decoding bounds every size, and what
// is printed of them goes through Printable first.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/clock.h"
#include "core/status.h"

namespace rueda::control {

inline constexpr size_t kMaxFactBytes = 512;      // of one text of RankFacts
inline constexpr size_t kMaxProgramBytes = 8192;  // of ProgramAnswer::text
inline constexpr size_t kMaxFactsInFlight = 4;    // named; all are counted
inline constexpr size_t kMaxWaitsFor = 64;

// What a rank's engine knows of itself.
struct RankFacts {
  int64_t finished = 0;                // collectives that have run to their end on this rank
  std::string last;                    // the last of them, "allreduce 'x'"; empty if there was none
  Duration last_ago{};                 // when it ended
  std::string running;                 // the bucket under way, or empty
  Duration running_for{};              // since it began
  std::vector<int> waits_for;          // whom that bucket waits for, as far as it can tell
  std::vector<std::string> in_flight;  // the first few that were submitted and have not ended
  uint32_t in_flight_count = 0;
  char main_thread = 0;          // state letter of /proc/<pid>/stat; 0: unknown
  bool leaving = false;          // it is shutting rueda down
  bool program_follows = false;  // a ProgramAnswer will come if its program can be asked

  bool operator==(const RankFacts&) const = default;
};

// Asked and answered under a number, so that a late answer is not taken for a new one.
struct StallQuestion {
  uint32_t number = 0;
  bool operator==(const StallQuestion&) const = default;
};
struct FactsAnswer {
  uint32_t number = 0;
  RankFacts facts;
  bool operator==(const FactsAnswer&) const = default;
};
// First line: a clause such as "is in train (train.py:41)"; then the stack's lines.
struct ProgramAnswer {
  uint32_t number = 0;
  std::string text;
  bool operator==(const ProgramAnswer&) const = default;
};
using StallMessage = std::variant<StallQuestion, FactsAnswer, ProgramAnswer>;

// Texts are cut to their bounds.
std::vector<uint8_t> EncodeStallMessage(const StallMessage& message);
// kCorrupt for anything else.
Result<StallMessage> DecodeStallMessage(std::span<const uint8_t> bytes);

// What rank 0 has found out about a rank that is waited for.
struct RankAccount {
  int rank = 0;
  std::optional<RankFacts> facts;      // its engine has answered
  std::optional<std::string> program;  // as ProgramAnswer::text
  char process = 0;  // state of its process as seen from here, if it is on this host; 0: unknown
  int64_t local_pid = 0;  // its process id as seen from here, or 0
};

enum class Doing {
  kAnswers,     // its program has said where it is
  kEngineOnly,  // the engine has answered, and there is no program to ask
  kBusy,        // the engine has answered, the program could not
  kLeaving,     // it is shutting rueda down
  kStopped,     // by SIGSTOP or a terminal
  kTraced,      // held by a debugger
  kInKernel,    // in a wait that nothing interrupts
  kEnded,       // its process is no more
  kSilent,      // no answer, and nothing is known from here
};
Doing Judge(const RankAccount& account);

// A clause that follows "rank 1": "is stopped (kill -CONT 4711 continues it)". One line, printable.
std::string DoingClause(const RankAccount& account);

// `text` cut to `most_bytes`, with control characters and what is not UTF-8 as '?'.
std::string Printable(std::string_view text, size_t most_bytes);

// "350 ms", "4.2 s", "37 s", "12 min 5 s", "3 h 20 min".
std::string DurationText(Duration duration);

}  // namespace rueda::control
