// What /proc says of processes: own, stopped, ended, and those that a pidfd names.
#include "transport/process_state.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
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
}

TEST_CASE("what is no process has no state", "[process_state]") {
  CHECK(ProcessState(0) == '\0');
  CHECK(ProcessState(-5) == '\0');
  CHECK(PidOf(STDIN_FILENO) == 0);
  CHECK(PidOf(-1) == 0);
}

}  // namespace
}  // namespace rueda::transport
