// Log: where a component reports what no status carries. Handed in, never global.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace rueda {

enum class LogLevel { kTrace = 0, kDebug = 1, kInfo = 2, kWarning = 3, kError = 4, kFatal = 5 };
std::string_view NameOf(LogLevel level);

// Any thread. The default writes nothing.
using Log = std::function<void(LogLevel, const std::string&)>;

// Writes "[rueda, rank 3] warning: ..." to standard error, one write a line, at `lowest` and above.
Log StandardErrorLog(int rank, LogLevel lowest);

}  // namespace rueda
