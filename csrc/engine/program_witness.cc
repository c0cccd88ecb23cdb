#include "engine/program_witness.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "transport/thread_setup.h"

namespace rueda::engine {
namespace {

constexpr auto kLastAnswer = std::chrono::seconds(1);

// A thread that may never end is neither joined nor destroyed.
void LeaveToTheExit(std::thread thread) {
  static std::mutex mutex;
  static auto* const threads = new std::vector<std::thread>;  // guarded by mutex
  const std::lock_guard lock(mutex);
  threads->push_back(std::move(thread));
}

}  // namespace

struct ProgramWitness::Shared {
  std::mutex mutex;
  std::condition_variable ended;
  std::function<void()> wake;         // guarded by mutex; null once the witness is gone
  bool open = false;                  // guarded by mutex
  std::optional<std::string> answer;  // guarded by mutex
};

ProgramWitness::ProgramWitness(std::function<std::string()> describe, std::function<void()> wake)
    : describe_(std::move(describe)), shared_(std::make_shared<Shared>()) {
  shared_->wake = std::move(wake);
}

ProgramWitness::~ProgramWitness() {
  if (!thread_.joinable()) return;
  bool ended = false;
  {
    std::unique_lock lock(shared_->mutex);
    ended = shared_->ended.wait_for(lock, kLastAnswer, [this] { return !shared_->open; });
    shared_->wake = nullptr;
  }
  if (ended) {
    thread_.join();
    return;
  }
  // It waits for the interpreter's lock and may do so for ever; joining it would, too. It owns what
  // it touches.
  LeaveToTheExit(std::move(thread_));
}

void ProgramWitness::Ask() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->answer.reset();
    if (describe_ == nullptr || std::exchange(shared_->open, true)) return;
  }
  if (thread_.joinable()) thread_.join();  // its question is closed: it is about to end
  const transport::SignalsBlocked blocked;
  try {
    thread_ = std::thread([shared = shared_, describe = describe_] {
      transport::NameThisThread("rueda-witness");
      std::string answer = describe();
      const std::lock_guard lock(shared->mutex);
      shared->answer = std::move(answer);
      shared->open = false;
      if (shared->wake) shared->wake();
      shared->ended.notify_all();
    });
  } catch (const std::system_error&) {
    // No thread to be had: then there is no answer.
    const std::lock_guard lock(shared_->mutex);
    shared_->open = false;
  }
}

std::optional<std::string> ProgramWitness::Take() {
  const std::lock_guard lock(shared_->mutex);
  return std::exchange(shared_->answer, std::nullopt);
}

}  // namespace rueda::engine
