// PeerWatch: learns of the end of real processes, once each, and ends while it watches.
#include "transport/peer_watch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "backend_world.h"
#include "deadline.h"

namespace rueda::transport {
namespace {

using testing::Bell;
using testing::Deadline;
using testing::Patience;

UniqueFd PidfdOf(pid_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

// A process that lives until it is told to end, or killed.
class Child {
 public:
  Child() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::close(ends[1]);
      char byte = 0;
      while (::read(ends[0], &byte, 1) < 0) {
      }
      ::_exit(0);
    }
    ::close(ends[0]);
    leash_.reset(ends[1]);
  }
  ~Child() {
    Kill();
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;

  void TellToEnd() const { REQUIRE(::write(leash_.get(), "x", 1) == 1); }
  void Kill() { ::kill(pid_, SIGKILL); }
  UniqueFd Pidfd() const {
    UniqueFd pidfd = PidfdOf(pid_);
    REQUIRE(pidfd.valid());
    return pidfd;
  }

 private:
  pid_t pid_ = -1;
  UniqueFd leash_;
};

// Counts what a watch tells, by rank.
class Exits {
 public:
  std::function<void(int)> Counter() {
    return [this](int rank) {
      {
        const std::lock_guard lock(mutex_);
        ++counts_[rank];
      }
      bell_.Ring();
    };
  }
  bool WaitForAnyMore(uint64_t than) { return bell_.WaitPast(than, Patience()); }
  std::map<int, int> counts() {
    const std::lock_guard lock(mutex_);
    return counts_;
  }

 private:
  std::mutex mutex_;
  std::map<int, int> counts_;
  Bell bell_;
};

using Counts = std::map<int, int>;

TEST_CASE("the end of a process is told once, however it ends", "[peer_watch]") {
  const Deadline deadline("ends of processes");
  Child orderly, killed, lasting;
  std::vector<UniqueFd> pidfds(1);  // rank 0 is this process and is not watched
  pidfds.push_back(orderly.Pidfd());
  pidfds.push_back(lasting.Pidfd());
  pidfds.push_back(killed.Pidfd());
  Exits exits;
  auto watch = PeerWatch::Start(std::move(pidfds), exits.Counter()).value();
  CHECK(exits.counts().empty());
  orderly.TellToEnd();
  REQUIRE(exits.WaitForAnyMore(0));
  CHECK(exits.counts() == Counts{{1, 1}});
  killed.Kill();
  REQUIRE(exits.WaitForAnyMore(1));
  watch.reset();
  CHECK(exits.counts() == Counts{{1, 1}, {3, 1}});
}

TEST_CASE("a process that ended before it was watched is told too", "[peer_watch]") {
  const Deadline deadline("an early end");
  Child child;
  std::vector<UniqueFd> pidfds;
  pidfds.push_back(child.Pidfd());
  child.Kill();
  Exits exits;
  const auto watch = PeerWatch::Start(std::move(pidfds), exits.Counter()).value();
  REQUIRE(exits.WaitForAnyMore(0));
  CHECK(exits.counts() == Counts{{0, 1}});
}

TEST_CASE("a watch ends while it watches, and tells nothing afterwards", "[peer_watch]") {
  const Deadline deadline("the end of a watch");
  Exits exits;
  Child child;
  for (int i = 0; i < 50; ++i) {
    std::vector<UniqueFd> pidfds;
    pidfds.push_back(child.Pidfd());
    const auto watch = PeerWatch::Start(std::move(pidfds), exits.Counter()).value();
  }
  child.Kill();
  CHECK(exits.counts().empty());
}

TEST_CASE("a watch that nobody is watched by ends too", "[peer_watch]") {
  const Deadline deadline("an empty watch");
  Exits exits;
  const auto none = PeerWatch::Start({}, exits.Counter()).value();
  const auto invalid = PeerWatch::Start(std::vector<UniqueFd>(3), exits.Counter()).value();
}

TEST_CASE("a callback under way is waited for", "[peer_watch]") {
  const Deadline deadline("a callback under way");
  Child child;
  std::vector<UniqueFd> pidfds;
  pidfds.push_back(child.Pidfd());
  Bell entered, leave;
  bool left = false;
  auto watch = PeerWatch::Start(std::move(pidfds), [&](int) {
                 entered.Ring();
                 leave.WaitPast(0, Patience());
                 left = true;
               }).value();
  child.Kill();
  REQUIRE(entered.WaitPast(0, Patience()));
  std::thread releasing([&] { leave.Ring(); });
  watch.reset();
  CHECK(left);
  releasing.join();
}

TEST_CASE("a forked child drops the descriptors and leaves the parent's watch alone",
          "[peer_watch]") {
  const Deadline deadline("a watch in a forked child");
  Child watched;
  std::vector<UniqueFd> pidfds;
  pidfds.push_back(watched.Pidfd());
  const int pidfd = pidfds.front().get();
  Exits exits;
  auto watch = PeerWatch::Start(std::move(pidfds), exits.Counter()).value();
  const pid_t forked = ::fork();
  REQUIRE(forked >= 0);
  if (forked == 0) {
    watch->AbandonInForkedChild();
    watch.reset();
    ::_exit(::fcntl(pidfd, F_GETFD) == -1 ? 0 : 1);
  }
  int how = -1;
  REQUIRE(::waitpid(forked, &how, 0) == forked);
  CHECK(how == 0);
  watched.Kill();
  CHECK(exits.WaitForAnyMore(0));
}

}  // namespace
}  // namespace rueda::transport
