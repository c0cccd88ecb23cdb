// PeerLinks: the message streams to all peers and the one place where Gloo's work waits for them.
//
// Gloo's thread posts transfers and waits; while it waits for one buffer it moves the bytes of
// every peer, because a peer may need our send to get on with the one we wait for. It sleeps in
// ppoll until a descriptor is ready, the run's deadline passes or Abort is called (I6), and never
// spins. After an error the streams are in no known state: the backend then calls Abort, so that
// nothing follows.
#pragma once

#include <poll.h>

#include <memory>
#include <mutex>
#include <vector>

#include "backends/abort_reason.h"
#include "backends/copy_observer.h"
#include "backends/gloo/plugin/peer_link.h"
#include "core/clock.h"
#include "core/status.h"
#include "core/types.h"
#include "transport/channel.h"
#include "transport/unique_fd.h"

namespace rueda::backends {

class PeerLinks {
 public:
  // `channels` by rank, this rank's own null. kInvalidArgument if a channel is missing or has no
  // descriptor to poll, or the rank is not one of the size's.
  static Result<std::unique_ptr<PeerLinks>> Make(
      Topology topology, std::vector<std::unique_ptr<transport::Channel>> channels);
  PeerLinks(const PeerLinks&) = delete;
  PeerLinks& operator=(const PeerLinks&) = delete;

  const Topology& topology() const { return topology_; }

  // Who is told of the copies that Gloo's thread makes, or null; set before the first bucket.
  CopyObserver* copies() const { return copies_; }
  void Observe(CopyObserver* observer) { copies_ = observer; }

  // Gloo's thread only.

  // Everything waited for from here on ends `timeout` from now.
  void StartRun(Duration timeout);

  // A send starts to move at once; a receive when something is waited for.
  Status PostSend(int peer, const Transfer& transfer);
  Status PostReceive(int peer, const Transfer& transfer);

  // Returns once `finished` names a peer. kPeerLost, kTimedOut (both name ranks), kCorrupt, or the
  // reason of Abort.
  Status Wait(const Completions& finished);

  // Forgets the transfers of a buffer that goes away, as happens when a run fails half-way.
  void Discard(const Completions* finished);

  // Any thread, never blocks.

  // Ends the wait under way and every later one with `why`. The first reason stays.
  void Abort(const Status& why);
  // Ok, or the reason.
  Status aborted() const { return aborted_.Check(); }
  // The peers of which something was wanted when the thread last went to sleep.
  std::vector<int> WaitsFor() const;

 private:
  PeerLinks(Topology topology, transport::UniqueFd wake);

  Status Move(int peer, bool send, bool receive);
  Status MoveAll();
  void ChoosePolls();
  Status Sleep();
  Status Lost(int peer, const Status& status) const;
  Status TimedOut() const;

  const Topology topology_;
  std::vector<std::unique_ptr<PeerLink>> links_;  // by rank; own null
  std::vector<pollfd> polls_;                     // by rank, then wake_
  CopyObserver* copies_ = nullptr;
  TimePoint deadline_ = kNever;
  Duration timeout_{};

  const transport::UniqueFd wake_;  // an eventfd that is readable for ever once aborted
  AbortReason aborted_;
  mutable std::mutex mutex_;
  std::vector<int> waits_for_;  // guarded by mutex_
};

}  // namespace rueda::backends
