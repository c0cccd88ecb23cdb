#include "transport/thread_setup.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include <new>

namespace rueda::transport {

static_assert(sizeof(sigset_t) <= 128);

SignalsBlocked::SignalsBlocked() {
  sigset_t all;
  sigfillset(&all);
  // What a thread does to itself: blocked, it would end the process without a word from its
  // handlers.
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&all, fault);
  pthread_sigmask(SIG_SETMASK, &all, new (saved_) sigset_t);
}

SignalsBlocked::~SignalsBlocked() {
  pthread_sigmask(SIG_SETMASK, std::launder(reinterpret_cast<sigset_t*>(saved_)), nullptr);
}

void NameThisThread(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
  prctl(PR_SET_TIMERSLACK, 1000);
}

int UsableProcessors() {
  cpu_set_t usable;
  // Refused where there are more than fit: enough for everybody.
  if (sched_getaffinity(0, sizeof usable, &usable) != 0) return CPU_SETSIZE;
  return CPU_COUNT(&usable);
}

}  // namespace rueda::transport
