// PeerWatch: learns at once that a peer's process ended.
//
// A thread that sleeps in poll(2) on the peers' pidfds, because the engine's thread sleeps on a
// futex and nobody can sleep on both. A pidfd tells the death of the process itself: a socket stays
// open as long as a forked child (a DataLoader worker) holds a copy.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "core/status.h"
#include "transport/unique_fd.h"

namespace rueda::transport {

class PeerWatch {
 public:
  // Calls `on_exit(rank)` from its own thread, once for each peer that ends. pidfds are by rank; an
  // invalid one is not watched.
  static Result<std::unique_ptr<PeerWatch>> Start(std::vector<UniqueFd> pidfds,
                                                  std::function<void(int rank)> on_exit);
  // Ends the thread; a callback under way is waited for.
  ~PeerWatch();
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;

  // The process of `rank` as this process numbers it: 0 if it is not watched, -1 if it has ended.
  // Any thread.
  int64_t LocalPid(int rank) const;

  // In a forked child, where the thread does not exist: only closes the descriptors.
  void AbandonInForkedChild();

 private:
  PeerWatch(std::vector<UniqueFd> pidfds, UniqueFd stop, std::function<void(int)> on_exit)
      : pidfds_(std::move(pidfds)), stop_(std::move(stop)), on_exit_(std::move(on_exit)) {}
  void Watch();

  std::vector<UniqueFd> pidfds_;
  UniqueFd stop_;
  std::function<void(int)> on_exit_;
  std::thread thread_;
};

}  // namespace rueda::transport
