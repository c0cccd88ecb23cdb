// WaitTracer: what a ticket tells the timeline of the threads that wait for it.
#pragma once

#include <cstdint>
#include <memory>

namespace rueda::control {
struct Request;
}
namespace rueda::timeline {
class Recorder;
}

namespace rueda::engine {

// Any thread. Keeps what it needs, because a waiter may wake after the engine is gone.
class WaitTracer {
 public:
  // Off for ever.
  WaitTracer() = default;
  WaitTracer(std::shared_ptr<timeline::Recorder> recorder,
             std::shared_ptr<const control::Request> request)
      : recorder_(std::move(recorder)), request_(std::move(request)) {}

  bool on() const { return recorder_ != nullptr && IsRecording(); }
  int64_t Now() const;
  // The calling thread waited from `begun` until now.
  void Waited(int64_t begun) const;

 private:
  bool IsRecording() const;

  std::shared_ptr<timeline::Recorder> recorder_;
  std::shared_ptr<const control::Request> request_;
};

}  // namespace rueda::engine
