// CallSite: where in the user's program an operation was started, for messages.
#pragma once

#include <memory>
#include <string>

namespace rueda::pytorch {

struct DropCode {
  void operator()(void* code) const;
};

// To be dropped with the GIL held: it owns a Python object.
struct CallSite {
  std::unique_ptr<void, DropCode> code;  // of the function; null: not known
  // Where in the code it was, in bytes. Its line is found out when somebody asks: that reads the
  // function's table of lines from its beginning.
  int instruction = 0;
};

// The innermost Python function on this thread's stack whose file does not lie in the folder
// `package`. Needs the GIL.
CallSite CallerOutside(const std::string& package);

// "train(), /home/me/train.py:12", or "" where it is not known. Needs the GIL.
std::string Describe(const CallSite& site);

}  // namespace rueda::pytorch
