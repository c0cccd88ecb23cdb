#include "core/log.h"

#include <unistd.h>

#include <array>

namespace rueda {

std::string_view NameOf(LogLevel level) {
  constexpr std::array<std::string_view, 6> kNames{"trace",   "debug", "info",
                                                   "warning", "error", "fatal"};
  return kNames[static_cast<size_t>(level)];
}

Log StandardErrorLog(int rank, LogLevel lowest) {
  return [rank, lowest](LogLevel level, const std::string& message) {
    if (level < lowest) return;
    const std::string line = "[rueda, rank " + std::to_string(rank) + "] " +
                             std::string(NameOf(level)) + ": " + message + "\n";
    // One write, so that lines of several ranks on one terminal are not torn. A log that cannot be
    // written has nowhere to say so.
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
  };
}

}  // namespace rueda
