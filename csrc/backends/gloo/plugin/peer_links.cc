#include "backends/gloo/plugin/peer_links.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

namespace rueda::backends {
namespace {

timespec ToTimespec(Duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  return {.tv_sec = seconds.count(), .tv_nsec = (duration - seconds).count()};
}

}  // namespace

Result<std::unique_ptr<PeerLinks>> PeerLinks::Make(
    Topology topology, std::vector<std::unique_ptr<transport::Channel>> channels) {
  if (topology.rank < 0 || topology.rank >= topology.size) {
    return Status(StatusCode::kInvalidArgument, "rank " + std::to_string(topology.rank) +
                                                    " is not one of " +
                                                    std::to_string(topology.size) + " ranks");
  }
  transport::UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return SystemError("creating an eventfd for the gloo backend", errno);
  std::unique_ptr<PeerLinks> links(new PeerLinks(std::move(topology), std::move(wake)));
  channels.resize(static_cast<size_t>(links->topology_.size));
  for (int peer = 0; peer < links->topology_.size; ++peer) {
    std::unique_ptr<transport::Channel>& channel = channels[static_cast<size_t>(peer)];
    links->links_.emplace_back();
    if (peer == links->topology_.rank) continue;
    if (channel == nullptr || channel->descriptor() < 0) {
      return Status(StatusCode::kInvalidArgument, "the gloo backend needs a socket channel to " +
                                                      links->topology_.Describe(peer) +
                                                      (channel ? ", not one in memory" : ""));
    }
    links->links_.back() = std::make_unique<PeerLink>(peer, std::move(channel));
  }
  return links;
}

PeerLinks::PeerLinks(Topology topology, transport::UniqueFd wake)
    : topology_(std::move(topology)),
      polls_(static_cast<size_t>(topology_.size) + 1, pollfd{.fd = -1, .events = 0, .revents = 0}),
      wake_(std::move(wake)) {
  polls_.back() = {.fd = wake_.get(), .events = POLLIN, .revents = 0};
}

void PeerLinks::StartRun(Duration timeout) {
  timeout_ = timeout;
  deadline_ = After(SteadyClock().Now(), timeout);
}

Status PeerLinks::PostSend(int peer, const Transfer& transfer) {
  RUEDA_RETURN_IF_ERROR(aborted());
  PeerLink& link = *links_[static_cast<size_t>(peer)];
  const bool first = !link.sending();
  link.PostSend(transfer);
  // Behind another send it could not move, or that one would have.
  return first ? Move(peer, true, false) : Status::Ok();
}

Status PeerLinks::PostReceive(int peer, const Transfer& transfer) {
  RUEDA_RETURN_IF_ERROR(aborted());
  links_[static_cast<size_t>(peer)]->PostReceive(transfer);
  return Status::Ok();
}

Status PeerLinks::Wait(const Completions& finished) {
  RUEDA_RETURN_IF_ERROR(aborted());
  if (finished.empty()) RUEDA_RETURN_IF_ERROR(MoveAll());
  while (finished.empty()) {
    RUEDA_RETURN_IF_ERROR(Sleep());
    RUEDA_RETURN_IF_ERROR(aborted());
  }
  return Status::Ok();
}

void PeerLinks::Discard(const Completions* finished) {
  for (const auto& link : links_) {
    if (link) link->Discard(finished);
  }
}

void PeerLinks::Abort(const Status& why) {
  if (!aborted_.Set(why)) return;
  const uint64_t one = 1;
  // Cannot fail: the counter has room for it, as nobody else writes.
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

std::vector<int> PeerLinks::WaitsFor() const {
  const std::lock_guard lock(mutex_);
  return waits_for_;
}

Status PeerLinks::Move(int peer, bool send, bool receive) {
  PeerLink& link = *links_[static_cast<size_t>(peer)];
  // Receive first: a peer that sent its last message and left must not be called lost by a send
  // that no longer matters to this wait.
  Status status = receive ? link.Receive() : Status::Ok();
  if (status.ok() && send) status = link.Send();
  return status.ok() ? status : Lost(peer, status);
}

Status PeerLinks::MoveAll() {
  for (int peer = 0; peer < topology_.size; ++peer) {
    if (peer == topology_.rank) continue;
    const PeerLink& link = *links_[static_cast<size_t>(peer)];
    RUEDA_RETURN_IF_ERROR(Move(peer, link.sending(), link.receiving()));
  }
  return Status::Ok();
}

void PeerLinks::ChoosePolls() {
  const std::lock_guard lock(mutex_);
  waits_for_.clear();
  for (int peer = 0; peer < topology_.size; ++peer) {
    const PeerLink* link = links_[static_cast<size_t>(peer)].get();
    pollfd& poll = polls_[static_cast<size_t>(peer)];
    // A peer of which nothing is wanted is left out altogether, for poll reports hang-ups unasked
    // and would return at once for ever after a peer that finished early has gone.
    poll.fd = -1;
    if (link == nullptr || !(link->sending() || link->receiving())) continue;
    waits_for_.push_back(peer);
    poll.fd = link->descriptor();
    poll.events =
        static_cast<int16_t>((link->receiving() ? POLLIN : 0) | (link->sending() ? POLLOUT : 0));
  }
}

Status PeerLinks::Sleep() {
  ChoosePolls();
  const Duration left = deadline_ - SteadyClock().Now();
  if (left <= Duration::zero()) return TimedOut();
  const timespec limit = ToTimespec(left);
  const int ready = ::ppoll(polls_.data(), polls_.size(), &limit, nullptr);
  if (ready < 0 && errno != EINTR) return SystemError("polling the links of gloo", errno);
  for (int peer = 0; ready > 0 && peer < topology_.size; ++peer) {
    const pollfd& poll = polls_[static_cast<size_t>(peer)];
    if (poll.fd < 0 || poll.revents == 0) continue;
    const bool either = (poll.revents & ~(POLLIN | POLLOUT)) != 0;  // hung up: both ends tell
    RUEDA_RETURN_IF_ERROR(Move(peer, either || (poll.revents & POLLOUT) != 0,
                               either || (poll.revents & POLLIN) != 0));
  }
  return Status::Ok();
}

Status PeerLinks::Lost(int peer, const Status& status) const {
  if (status.code() != StatusCode::kPeerLost) return status;
  return Status(status.code(), topology_.Describe(peer) + " was lost: " + status.message() +
                                   "; look for the cause in what that rank said last")
      .Blame(peer);
}

Status PeerLinks::TimedOut() const {
  std::string peers;
  for (const int peer : WaitsFor()) {
    peers += (peers.empty() ? "" : ", ") + topology_.Describe(peer);
  }
  const auto limit = std::chrono::duration_cast<std::chrono::milliseconds>(timeout_);
  return {StatusCode::kTimedOut,
          "not finished after " + std::to_string(limit.count()) + " ms; waited for " + peers};
}

}  // namespace rueda::backends
