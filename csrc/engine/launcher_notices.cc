#include "engine/launcher_notices.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>

#include "control/words.h"

namespace rueda::engine {
namespace {

constexpr size_t kMaxHeadlineBytes = 512;

// `text` as the inside of a JSON string. Its texts are printable UTF-8 but for newlines.
std::string Escaped(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      escaped += '\\';
      escaped += c;
    } else if (c == '\n') {
      escaped += "\\n";
    } else if (byte < 0x20) {
      escaped += "\\u00";
      escaped += kDigits[byte >> 4];
      escaped += kDigits[byte & 15];
    } else {
      escaped += c;
    }
  }
  return escaped;
}

// The longest start of `text` that takes at most `bytes` once escaped.
std::string EscapedWithin(std::string_view text, size_t bytes) {
  std::string escaped = Escaped(text);
  while (escaped.size() > bytes) {
    const size_t beyond = escaped.size() - bytes;
    // One byte of text is one to six escaped ones.
    text = control::Clip(text, text.size() - (beyond + 5) / 6);
    escaped = Escaped(text);
  }
  return escaped;
}

bool IsPipeToWrite(int descriptor) {
  struct stat about {};
  if (::fstat(descriptor, &about) != 0 || !S_ISFIFO(about.st_mode)) return false;
  const int flags = ::fcntl(descriptor, F_GETFL);
  return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

}  // namespace

std::string EncodeNotice(int rank, std::string_view headline, std::string_view text) {
  const std::string start = R"({"notice": "stall", "rank": )" + std::to_string(rank) +
                            R"(, "headline": ")" + EscapedWithin(headline, kMaxHeadlineBytes) +
                            R"(", "text": ")";
  constexpr std::string_view kEnd = "\"}\n";
  const size_t room = kMaxNoticeBytes - start.size() - kEnd.size();
  return start + EscapedWithin(text, room) + std::string(kEnd);
}

TellLauncher NoticesTo(const std::string& descriptor, int rank) {
  int number = -1;
  const char* end = descriptor.data() + descriptor.size();
  const auto [rest, error] = std::from_chars(descriptor.data(), end, number);
  if (error != std::errc() || rest != end || number < 0 || !IsPipeToWrite(number)) return nullptr;
  return [number, rank](const std::string& headline, const std::string& text) {
    // A pipe that polls as writable takes this much without blocking (pipe(7)). One without a
    // reader polls as POLLOUT | POLLERR, and a write to it would raise SIGPIPE.
    pollfd writable{number, POLLOUT, 0};
    if (::poll(&writable, 1, 0) != 1 || writable.revents != POLLOUT) return;
    const std::string line = EncodeNotice(rank, headline, text);
    [[maybe_unused]] const ssize_t written = ::write(number, line.data(), line.size());
  };
}

}  // namespace rueda::engine
