// Notices: what a rank tells the launcher while the job runs, over the descriptor of crash reports.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace rueda::engine {

// Tells `headline`, one line, and `text`, all of it. Never blocks, any thread; what does not fit is
// cut, and what the launcher does not take is lost.
using TellLauncher = std::function<void(const std::string& headline, const std::string& text)>;

// `descriptor` as RUEDA_REPORT_FD has it; null unless it names a pipe that can be written.
TellLauncher NoticesTo(const std::string& descriptor, int rank);

// One line of JSON: {"notice": "stall", "rank": 0, "headline": "...", "text": "..."}, at most
// kMaxNoticeBytes with its newline.
std::string EncodeNotice(int rank, std::string_view headline, std::string_view text);
// What a pipe takes in one piece (PIPE_BUF), so that notices and crash reports are not torn.
inline constexpr size_t kMaxNoticeBytes = 4096;

}  // namespace rueda::engine
