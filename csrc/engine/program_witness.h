// ProgramWitness: asks the program of this rank where it is, without waiting for it.
//
// The question may take for ever: Python answers only once native code lets go of its lock. So it
// is put on a thread of its own, which exists only while a question is open: an idle job has none
// (I7).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

namespace rueda::engine {

// One thread's, the engine's, but for what the questions' thread does.
class ProgramWitness {
 public:
  // `describe` is called on the questions' thread and may block; null: there is nobody to ask.
  // `wake` is called there once an answer has come, and must be fast.
  ProgramWitness(std::function<std::string()> describe, std::function<void()> wake);
  // Waits for an open question, but no longer than a second: a program that cannot answer must not
  // hold up the end. `wake` is not called after this.
  ~ProgramWitness();
  ProgramWitness(const ProgramWitness&) = delete;
  ProgramWitness& operator=(const ProgramWitness&) = delete;

  bool can_ask() const { return describe_ != nullptr; }
  // Forgets the last answer and asks. A question that is still open is not put twice.
  void Ask();
  // The answer to the last question, once.
  std::optional<std::string> Take();

 private:
  struct Shared;
  class LeftBehind;

  const std::function<std::string()> describe_;
  const std::shared_ptr<Shared> shared_;  // with a thread that may outlive this
  std::thread thread_;
};

}  // namespace rueda::engine
