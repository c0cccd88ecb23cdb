#include "backends/gloo/plugin/gloo_transport.h"

#include <gloo/common/error.h>
#include <gloo/transport/address.h>
#include <gloo/transport/pair.h>

#include <string>
#include <utility>

namespace rueda::backends {
namespace {

void ThrowIfError(Status status) {
  if (!status.ok()) throw LinkFailure(std::move(status));
}

[[noreturn]] void Refuse(const char* what) {
  throw ::gloo::InvalidOperationException(std::string(what) +
                                          " is not part of rueda's transport for Gloo");
}

int TakeOldest(Completions& finished) {
  const int rank = finished.front();
  finished.erase(finished.begin());
  return rank;
}

class LinkAddress final : public ::gloo::transport::Address {
 public:
  explicit LinkAddress(std::string name) : name_(std::move(name)) {}
  std::string str() const override { return name_; }
  std::vector<char> bytes() const override { return {}; }

 private:
  const std::string name_;
};

// Gloo asks for pairs only to see that the peers are connected. What it could do with one beyond
// that belongs to its old collectives.
class LinkPair final : public ::gloo::transport::Pair {
 public:
  LinkPair(int peer, std::string name) : peer_(peer), address_(std::move(name)) {}

  const ::gloo::transport::Address& address() const override { return address_; }
  void connect(const std::vector<char>&) override {}
  void close() override {}
  void setSync(bool, bool) override {}

  std::unique_ptr<::gloo::transport::Buffer> createSendBuffer(int, void*, size_t) override {
    Refuse("a bound send buffer");
  }
  std::unique_ptr<::gloo::transport::Buffer> createRecvBuffer(int, void*, size_t) override {
    Refuse("a bound receive buffer");
  }
  void send(::gloo::transport::UnboundBuffer* buffer, uint64_t tag, size_t offset,
            size_t bytes) override {
    buffer->send(peer_, tag, offset, bytes);
  }
  void recv(::gloo::transport::UnboundBuffer* buffer, uint64_t tag, size_t offset,
            size_t bytes) override {
    buffer->recv(peer_, tag, offset, bytes);
  }

 private:
  const int peer_;
  const LinkAddress address_;
};

class LinkTransport final : public ::gloo::transport::Context {
 public:
  explicit LinkTransport(PeerLinks& links)
      : Context(links.topology().rank, links.topology().size), links_(links) {
    for (int peer = 0; peer < size; ++peer) {
      if (peer != rank) createPair(peer);
    }
  }

  std::unique_ptr<::gloo::transport::Pair>& createPair(int peer) override {
    std::unique_ptr<::gloo::transport::Pair>& pair = pairs_.at(static_cast<size_t>(peer));
    pair = std::make_unique<LinkPair>(peer, links_.topology().Describe(peer));
    return pair;
  }

  std::unique_ptr<::gloo::transport::UnboundBuffer> createUnboundBuffer(void* data,
                                                                        size_t bytes) override {
    return std::make_unique<LinkBuffer>(links_, data, bytes);
  }

 private:
  PeerLinks& links_;
};

}  // namespace

LinkBuffer::LinkBuffer(PeerLinks& links, void* data, size_t bytes)
    : UnboundBuffer(data, bytes), links_(links) {}

LinkBuffer::~LinkBuffer() {
  links_.Discard(&sent_);
  links_.Discard(&received_);
}

// Gloo gives empty transfers an offset beyond the end (its bcube does, with fewer elements than
// ranks), so only those with bytes are looked at.
Transfer LinkBuffer::At(uint64_t slot, size_t offset, size_t bytes, Completions* finished) const {
  if (bytes == kUnspecifiedByteCount) bytes = offset < size ? size - offset : 0;
  if (bytes == 0) return {.slot = slot, .data = nullptr, .bytes = 0, .finished = finished};
  if (offset > size || bytes > size - offset) Refuse("a transfer beyond the end of its buffer");
  return {.slot = slot,
          .data = static_cast<uint8_t*>(ptr) + offset,
          .bytes = bytes,
          .finished = finished};
}

void LinkBuffer::send(int dst_rank, uint64_t slot, size_t offset, size_t bytes) {
  ThrowIfError(links_.PostSend(dst_rank, At(slot, offset, bytes, &sent_)));
}

void LinkBuffer::recv(int src_rank, uint64_t slot, size_t offset, size_t bytes) {
  ThrowIfError(links_.PostReceive(src_rank, At(slot, offset, bytes, &received_)));
}

void LinkBuffer::recv(std::vector<int>, uint64_t, size_t, size_t) {
  Refuse("receiving from any of several ranks");
}

bool LinkBuffer::waitRecv(int* rank, std::chrono::milliseconds) {
  ThrowIfError(links_.Wait(received_));
  const int peer = TakeOldest(received_);
  if (rank != nullptr) *rank = peer;
  return true;
}

bool LinkBuffer::waitSend(int* rank, std::chrono::milliseconds) {
  ThrowIfError(links_.Wait(sent_));
  const int peer = TakeOldest(sent_);
  if (rank != nullptr) *rank = peer;
  return true;
}

LinkContext::LinkContext(PeerLinks& links) : Context(links.topology().rank, links.topology().size) {
  transportContext_ = std::make_shared<LinkTransport>(links);
}

}  // namespace rueda::backends
