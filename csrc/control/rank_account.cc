#include "control/rank_account.h"

#include <algorithm>
#include <cstdio>

#include "control/words.h"

namespace rueda::control {
namespace {

constexpr size_t kMaxClauseBytes = 240;

// The length of the UTF-8 sequence at the start of `text`, 0 if there is none that is valid.
size_t SequenceBytes(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const size_t bytes = first < 0x80   ? 1
                       : first < 0xC2 ? 0
                       : first < 0xE0 ? 2
                       : first < 0xF0 ? 3
                                      : 4;
  if (bytes == 0 || first > 0xF4 || text.size() < bytes) return 0;
  for (size_t i = 1; i < bytes; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U) return 0;
  }
  if (bytes < 3) return bytes;
  const auto second = static_cast<unsigned char>(text[1]);
  const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool surrogate = first == 0xED && second > 0x9F;
  const bool beyond = first == 0xF4 && second > 0x8F;
  return overlong || surrogate || beyond ? 0 : bytes;
}

bool IsControl(std::string_view sequence) {
  const auto first = static_cast<unsigned char>(sequence[0]);
  if (first < 0x20 || first == 0x7F) return true;
  return first == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0;  // C1
}

std::string BusyClause(const RankFacts& facts) {
  std::string text = "is busy: its engine answers, but its Python does not";
  if (facts.main_thread == 'D') return text + " and waits in the kernel for a disk or a network";
  return text + "; native code holds the interpreter's lock (GIL)";
}

std::string EngineClause(const RankFacts& facts) {
  if (!facts.running.empty()) {
    return "runs " + facts.running + " for " + DurationText(facts.running_for);
  }
  return "answers and does not offer it";
}

}  // namespace

Doing Judge(const RankAccount& account) {
  if (account.facts) {
    if (account.facts->leaving) return Doing::kLeaving;
    if (account.program) return Doing::kAnswers;
    return account.facts->program_follows ? Doing::kBusy : Doing::kEngineOnly;
  }
  switch (account.process) {
    case 'T':
      return Doing::kStopped;
    case 't':
      return Doing::kTraced;
    case 'D':
      return Doing::kInKernel;
    case 'Z':
    case 'X':
      return Doing::kEnded;
    default:
      return Doing::kSilent;
  }
}

std::string DoingClause(const RankAccount& account) {
  switch (Judge(account)) {
    case Doing::kAnswers:
      return Printable(account.program->substr(0, account.program->find('\n')), kMaxClauseBytes);
    case Doing::kEngineOnly:
      return EngineClause(*account.facts);
    case Doing::kBusy:
      return BusyClause(*account.facts);
    case Doing::kLeaving:
      return "is shutting rueda down";
    case Doing::kStopped:
      return "is stopped (by SIGSTOP or Ctrl-Z; kill -CONT " + std::to_string(account.local_pid) +
             " continues it)";
    case Doing::kTraced:
      return "is held by a debugger or tracer";
    case Doing::kInKernel:
      return "does not answer: it waits in the kernel, for a disk or a network file system";
    case Doing::kEnded:
      return "has ended";
    case Doing::kSilent:
      break;
  }
  if (account.process != 0) return "does not answer, though it runs; is this host overloaded?";
  return "does not answer; is it stopped, or its host cut off?";
}

std::string Printable(std::string_view text, size_t most_bytes) {
  const bool cut = text.size() > most_bytes;
  text = Clip(text, most_bytes);
  std::string printable;
  printable.reserve(text.size());
  while (!text.empty()) {
    const size_t bytes = SequenceBytes(text);
    const std::string_view sequence = text.substr(0, std::max<size_t>(1, bytes));
    if (bytes == 0 || IsControl(sequence)) {
      printable += '?';
    } else {
      printable += sequence;
    }
    text.remove_prefix(sequence.size());
  }
  return cut ? printable + "..." : printable;
}

std::string DurationText(Duration duration) {
  using std::chrono::duration_cast;
  const auto milliseconds = duration_cast<std::chrono::milliseconds>(duration).count();
  const auto seconds = milliseconds / 1000;
  if (milliseconds < 1000) return std::to_string(milliseconds) + " ms";
  if (seconds < 10) {
    return std::to_string(seconds) + "." + std::to_string(milliseconds / 100 % 10) + " s";
  }
  if (seconds < 120) return std::to_string(seconds) + " s";
  if (seconds < 7200) {
    return std::to_string(seconds / 60) + " min " + std::to_string(seconds % 60) + " s";
  }
  return std::to_string(seconds / 3600) + " h " + std::to_string(seconds / 60 % 60) + " min";
}

}  // namespace rueda::control
