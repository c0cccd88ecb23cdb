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
constexpr auto kAtTheExit = std::chrono::milliseconds(100);

}  // namespace

struct ProgramWitness::Shared {
  std::mutex mutex;
  std::condition_variable ended;
  std::function<void()> wake;         // guarded by mutex; null once the witness is gone
  bool open = false;                  // guarded by mutex
  std::optional<std::string> answer;  // guarded by mutex

  // Whether the question's thread is about to end.
  bool WaitForTheEnd(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex);
    return ended.wait_for(lock, limit, [this] { return !open; });
  }
};

// Threads whose question was open when their witness went. Such a thread waits for the
// interpreter's lock and may do so for ever; joining it would, too. It owns what it touches.
class ProgramWitness::LeftBehind {
 public:
  static LeftBehind& Instance() {
    static LeftBehind instance;
    return instance;
  }

  void Add(std::thread thread, std::shared_ptr<Shared> shared) {
    const std::lock_guard lock(mutex_);
    threads_.push_back({std::move(thread), std::move(shared)});
  }

 private:
  struct Entry {
    std::thread thread;
    std::shared_ptr<Shared> shared;
  };

  ~LeftBehind() {
    for (Entry& entry : threads_) {
      if (entry.shared->WaitForTheEnd(kAtTheExit)) {
        entry.thread.join();
      } else {
        // Ended by the process's end. A handle that is destroyed would end the process at once.
        [[maybe_unused]] auto* const for_ever = new std::thread(std::move(entry.thread));
      }
    }
  }

  std::mutex mutex_;
  std::vector<Entry> threads_;  // guarded by mutex_
};

ProgramWitness::ProgramWitness(std::function<std::string()> describe, std::function<void()> wake)
    : describe_(std::move(describe)), shared_(std::make_shared<Shared>()) {
  shared_->wake = std::move(wake);
}

ProgramWitness::~ProgramWitness() {
  if (!thread_.joinable()) return;
  const bool ended = shared_->WaitForTheEnd(kLastAnswer);
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->wake = nullptr;
  }
  if (ended) {
    thread_.join();
  } else {
    LeftBehind::Instance().Add(std::move(thread_), shared_);
  }
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
