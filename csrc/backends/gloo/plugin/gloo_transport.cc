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
  explicit LinkTransport(const LinkGroup& group)
      : Context(group.place(), group.size()), group_(group) {
    for (int peer = 0; peer < size; ++peer) {
      if (peer != rank) createPair(peer);
    }
  }

  std::unique_ptr<::gloo::transport::Pair>& createPair(int peer) override {
    std::unique_ptr<::gloo::transport::Pair>& pair = pairs_.at(static_cast<size_t>(peer));
    pair = std::make_unique<LinkPair>(peer, group_.Describe(peer));
    return pair;
  }

  std::unique_ptr<::gloo::transport::UnboundBuffer> createUnboundBuffer(void* data,
                                                                        size_t bytes) override {
    return std::make_unique<LinkBuffer>(group_, data, bytes);
  }

 private:
  const LinkGroup& group_;
};

}  // namespace

LinkBuffer::LinkBuffer(const LinkGroup& group, void* data, size_t bytes)
    : UnboundBuffer(data, bytes), group_(group) {}

LinkBuffer::~LinkBuffer() {
  group_.links().Discard(&sent_);
  group_.links().Discard(&received_);
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
  ThrowIfError(group_.PostSend(dst_rank, At(slot, offset, bytes, &sent_)));
}

void LinkBuffer::recv(int src_rank, uint64_t slot, size_t offset, size_t bytes) {
  ThrowIfError(group_.PostReceive(src_rank, At(slot, offset, bytes, &received_)));
}

void LinkBuffer::recv(std::vector<int>, uint64_t, size_t, size_t) {
  Refuse("receiving from any of several ranks");
}

void LinkBuffer::WaitFor(Completions& finished, int* place) {
  ThrowIfError(group_.links().Wait(finished));
  if (place != nullptr) *place = group_.PlaceOf(finished.front());
  finished.erase(finished.begin());
}

bool LinkBuffer::waitRecv(int* rank, std::chrono::milliseconds) {
  WaitFor(received_, rank);
  return true;
}

bool LinkBuffer::waitSend(int* rank, std::chrono::milliseconds) {
  WaitFor(sent_, rank);
  return true;
}

LinkContext::LinkContext(const LinkGroup& group) : Context(group.place(), group.size()) {
  transportContext_ = std::make_shared<LinkTransport>(group);
}

}  // namespace rueda::backends
