#include "transport/process_state.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <string>
#include <string_view>

#include "transport/unique_fd.h"

namespace rueda::transport {
namespace {

// The start of a small file of /proc; empty with `*error` set if it cannot be read.
std::string ReadStart(const std::string& path, int* error) {
  *error = 0;
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 1024> text;
  const ssize_t bytes = file.valid() ? ::read(file.get(), text.data(), text.size()) : -1;
  if (bytes < 0) *error = errno;
  return {text.data(), bytes < 0 ? 0 : static_cast<size_t>(bytes)};
}

// "pid (name) S ...": the name may hold anything, so the letter is after the last parenthesis.
char StateIn(const std::string& path) {
  int error = 0;
  const std::string text = ReadStart(path, &error);
  if (error == ENOENT || error == ESRCH) return 'X';
  const size_t end = text.rfind(')');
  return end == std::string::npos || end + 2 >= text.size() ? '\0' : text[end + 2];
}

}  // namespace

char ProcessState(int64_t pid) {
  return pid > 0 ? StateIn("/proc/" + std::to_string(pid) + "/stat") : '\0';
}

char OwnMainThreadState() {
  return StateIn("/proc/self/task/" + std::to_string(::getpid()) + "/stat");
}

int64_t PidOf(int pidfd) {
  int error = 0;
  const std::string text = ReadStart("/proc/self/fdinfo/" + std::to_string(pidfd), &error);
  constexpr std::string_view kKey = "\nPid:\t";
  const size_t at = text.find(kKey);
  if (at == std::string::npos) return 0;
  int64_t pid = 0;
  std::from_chars(text.data() + at + kKey.size(), text.data() + text.size(), pid);
  return pid;
}

}  // namespace rueda::transport
