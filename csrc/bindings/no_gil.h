// NoGil: a scope without the GIL, which a daemon thread may be in while the interpreter ends.
//
// CPython up to 3.13 ends a thread that wants the GIL then by unwinding its stack, and
// std::terminate ends the process if that meets a destructor: this one, or one that lets go of an
// engine. So the thread stays here for ever instead, as CPython's own threads do from 3.14 on.
#pragma once

#include <Python.h>
#include <cxxabi.h>
#include <unistd.h>

namespace rueda {

class NoGil {
 public:
  NoGil() : state_(PyEval_SaveThread()) {}
  ~NoGil() {
    try {
      PyEval_RestoreThread(state_);
    } catch (abi::__forced_unwind&) {
      while (true) pause();
    }
  }
  NoGil(const NoGil&) = delete;
  NoGil& operator=(const NoGil&) = delete;

 private:
  PyThreadState* const state_;
};

template <typename Work>
auto WithoutGil(Work&& work) {
  const NoGil no_gil;
  return work();
}

}  // namespace rueda
