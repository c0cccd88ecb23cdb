// Deadline: ends a test that hangs, and says where every thread stood.
#pragma once

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace rueda::testing {

// Writes the stacks of all threads of this process to standard error, if there is a gdb.
inline void PrintAllStacks() {
  ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  const std::string self = std::to_string(::getpid());
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
    ::alarm(60);  // survives exec: a debugger that hangs must not keep the test
    ::execlp("gdb", "gdb", "-q", "-n", "-batch", "-p", self.c_str(), "-ex",
             "thread apply all backtrace 30", nullptr);
    ::_exit(127);
  }
  if (child > 0) ::waitpid(child, nullptr, 0);
}

// Aborts the process unless it is destroyed in time. The limit is generous, because sanitizers and
// busy machines are slow; only a test that hangs reaches it.
class Deadline {
 public:
  explicit Deadline(std::string what, std::chrono::seconds limit = std::chrono::seconds(120))
      : what_(std::move(what)), thread_([this, limit] { Watch(limit); }) {}
  ~Deadline() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 private:
  void Watch(std::chrono::seconds limit) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, limit, [this] { return over_; })) return;
    std::fprintf(stderr, "\n%s: not finished after %lld s. All threads:\n", what_.c_str(),
                 static_cast<long long>(limit.count()));
    PrintAllStacks();
    std::abort();
  }

  const std::string what_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace rueda::testing
