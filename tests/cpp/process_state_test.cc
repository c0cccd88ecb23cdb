// What /proc says of processes: own, stopped, ended, and those that a pidfd names.
#include "transport/process_state.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <future>
#include <string>

#include "transport/unique_fd.h"

namespace rueda::transport {
namespace {

TEST_CASE("the state of a process is told by its letter", "[process_state]") {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  REQUIRE(pidfd.valid());
  CHECK(PidOf(pidfd.get()) == child);
  REQUIRE(::kill(child, SIGSTOP) == 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, WUNTRACED) == child);
  CHECK(ProcessState(child) == 'T');
  REQUIRE(::kill(child, SIGKILL) == 0);
  siginfo_t about{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(child), &about, WEXITED | WNOWAIT) == 0);
  CHECK(ProcessState(child) == 'Z');
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(ProcessState(child) == 'X');
  CHECK(PidOf(pidfd.get()) == -1);
}

TEST_CASE("the state of the own main thread is told from any thread", "[process_state]") {
  CHECK(OwnMainThreadState() == 'R');
  CHECK(ProcessState(::getpid()) == 'R');
  auto of_main = std::async(std::launch::async, [] {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    char state = 'R';
    // Until the main thread sleeps in get().
    while (state != 'S' && std::chrono::steady_clock::now() < end) state = OwnMainThreadState();
    return state;
  });
  CHECK(of_main.get() == 'S');
}

TEST_CASE("what is no process has no state", "[process_state]") {
  CHECK(ProcessState(0) == '\0');
  CHECK(ProcessState(-5) == '\0');
  CHECK(PidOf(STDIN_FILENO) == 0);
  CHECK(PidOf(-1) == 0);
}

}  // namespace
}  // namespace rueda::transport
