// A transport for Gloo made of rueda's own links, in place of Gloo's sockets and event thread.
//
// Gloo's TCP transport listens without authentication, hands every operation to another thread and
// back, and cannot be interrupted. Here the thread that runs the collective moves the bytes itself,
// over channels that are already proven, with a deadline and an abort (I6). All of it belongs to
// the one thread that runs Gloo.
//
// Gloo's only way to report an error from below is an exception; LinkFailure is ours, and the
// backend catches it on the same thread.
#pragma once

#include <gloo/context.h>
#include <gloo/transport/context.h>
#include <gloo/transport/unbound_buffer.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <vector>

#include "backends/gloo/plugin/link_group.h"
#include "core/status.h"

namespace rueda::backends {

// Carries a Status through Gloo's frames.
class LinkFailure : public std::exception {
 public:
  explicit LinkFailure(Status status) : status_(std::move(status)) {}
  const Status& status() const { return status_; }
  const char* what() const noexcept override { return status_.message().c_str(); }

 private:
  Status status_;
};

// A piece of memory that Gloo sends from and receives into. Gloo's time-outs are not looked at: the
// run has one deadline, which the links keep.
class LinkBuffer final : public ::gloo::transport::UnboundBuffer {
 public:
  // `group` outlives the buffer.
  LinkBuffer(const LinkGroup& group, void* data, size_t bytes);
  ~LinkBuffer() override;

  void send(int dst_rank, uint64_t slot, size_t offset, size_t bytes) override;
  void recv(int src_rank, uint64_t slot, size_t offset, size_t bytes) override;
  // Receiving from whoever comes first is used by none of the collectives here: refused.
  void recv(std::vector<int> src_ranks, uint64_t slot, size_t offset, size_t bytes) override;

  bool waitRecv(int* rank, std::chrono::milliseconds timeout) override;
  bool waitSend(int* rank, std::chrono::milliseconds timeout) override;

  // Only another thread could call these, and Gloo has none here: a run is aborted as a whole.
  void abortWaitRecv() override {}
  void abortWaitSend() override {}

 private:
  Transfer At(uint64_t slot, size_t offset, size_t bytes, Completions* finished) const;

  void WaitFor(Completions& finished, int* place);

  const LinkGroup& group_;
  Completions sent_;
  Completions received_;
};

// What Gloo's collectives are given: the links of a process set, seen as a connected group. What
// Gloo calls a rank is a member's place.
class LinkContext final : public ::gloo::Context {
 public:
  // `group` outlives the context.
  explicit LinkContext(const LinkGroup& group);
};

}  // namespace rueda::backends
