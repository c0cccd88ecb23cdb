// What every thread that rueda starts does first.
#pragma once

#include <string>

namespace rueda::transport {

// Blocks all signals but faults until destroyed: threads started meanwhile inherit that, so the
// application's handlers (Ctrl-C) always run on the application's threads.
class SignalsBlocked {
 public:
  SignalsBlocked();
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  alignas(8) unsigned char saved_[128];
};

// Names the calling thread for debuggers and top (at most 15 characters are kept) and lets its
// timed sleeps be exact to a microsecond instead of the default 50.
void NameThisThread(const std::string& name);

// How many processors the calling thread may run on.
int UsableProcessors();

}  // namespace rueda::transport
