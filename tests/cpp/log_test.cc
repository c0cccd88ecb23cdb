// StandardErrorLog: whole lines with rank and level, from the lowest level on.
#include "core/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "transport/unique_fd.h"

namespace rueda {
namespace {

using transport::UniqueFd;

// What `write` writes to standard error, up to what a pipe holds. Catch2 does not speak meanwhile.
std::string WrittenBy(const std::function<void()>& write) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const UniqueFd before(::dup(STDERR_FILENO));
  REQUIRE(::dup2(writer.get(), STDERR_FILENO) == STDERR_FILENO);
  write();
  REQUIRE(::dup2(before.get(), STDERR_FILENO) == STDERR_FILENO);
  writer.reset();
  std::string text;
  std::array<char, 4'096> part{};
  while (true) {
    const ssize_t bytes = ::read(reader.get(), part.data(), part.size());
    if (bytes <= 0) return text;
    text.append(part.data(), static_cast<size_t>(bytes));
  }
}

TEST_CASE("a line says which rank speaks and how grave it is", "[log]") {
  const Log log = StandardErrorLog(3, LogLevel::kTrace);
  CHECK(WrittenBy([&] { log(LogLevel::kWarning, "two ranks are late"); }) ==
        "[rueda, rank 3] warning: two ranks are late\n");
  CHECK(WrittenBy([&] { log(LogLevel::kFatal, ""); }) == "[rueda, rank 3] fatal: \n");
}

TEST_CASE("what is below the lowest level is not written", "[log]") {
  for (int lowest = 0; lowest < 6; ++lowest) {
    const Log log = StandardErrorLog(0, static_cast<LogLevel>(lowest));
    for (int level = 0; level < 6; ++level) {
      const std::string text = WrittenBy([&] { log(static_cast<LogLevel>(level), "x"); });
      CHECK(text.empty() == (level < lowest));
      if (level >= lowest) {
        CHECK_THAT(text, Catch::Contains(std::string(NameOf(static_cast<LogLevel>(level)))));
      }
    }
  }
}

TEST_CASE("lines of several threads are not torn", "[log]") {
  const std::string message(200, 'm');
  const std::string text = WrittenBy([&] {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 4; ++rank) {
      threads.emplace_back([&, rank] {
        const Log log = StandardErrorLog(rank, LogLevel::kInfo);
        for (int i = 0; i < 50; ++i) log(LogLevel::kInfo, message);
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  size_t lines = 0;
  for (size_t at = 0; at < text.size(); ++lines) {
    const size_t end = text.find('\n', at);
    const std::string_view line = std::string_view(text).substr(at, end - at);
    REQUIRE(line.starts_with("[rueda, rank "));
    REQUIRE(line.ends_with("] info: " + message));
    REQUIRE(line.size() == std::string_view("[rueda, rank 0] info: ").size() + message.size());
    at = end + 1;
  }
  CHECK(lines == 200);
}

TEST_CASE("a log that cannot be written is no error", "[log]") {
  const UniqueFd before(::dup(STDERR_FILENO));
  const UniqueFd nowhere(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  REQUIRE(::dup2(nowhere.get(), STDERR_FILENO) == STDERR_FILENO);
  StandardErrorLog(0, LogLevel::kTrace)(LogLevel::kError, "nobody reads this");
  REQUIRE(::dup2(before.get(), STDERR_FILENO) == STDERR_FILENO);
}

}  // namespace
}  // namespace rueda
