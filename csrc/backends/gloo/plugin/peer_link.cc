#include "backends/gloo/plugin/peer_link.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

namespace rueda::backends {

static_assert(std::endian::native == std::endian::little, "headers are copied as they lie");

PeerLink::PeerLink(int peer, std::unique_ptr<transport::Channel> channel)
    : peer_(peer), channel_(std::move(channel)) {}

void PeerLink::StageFront() {
  const Transfer& transfer = sends_.front();
  const uint64_t header[2] = {transfer.slot, transfer.bytes};
  static_assert(sizeof(header) == kHeaderBytes);
  std::memcpy(out_.data(), header, kHeaderBytes);
  const size_t first = std::min(transfer.bytes, kStageBytes - kHeaderBytes);
  if (first > 0) std::memcpy(out_.data() + kHeaderBytes, transfer.data, first);
  out_bytes_ = kHeaderBytes + first;
  sent_ = 0;
}

Status PeerLink::Send() {
  while (!sends_.empty()) {
    if (out_bytes_ == 0) StageFront();
    const Transfer& transfer = sends_.front();
    const size_t total = kHeaderBytes + transfer.bytes;
    while (sent_ < total) {
      const bool staged = sent_ < out_bytes_;
      const uint8_t* from = staged ? out_.data() + sent_ : transfer.data + (sent_ - kHeaderBytes);
      Result<size_t> taken = channel_->Send(from, (staged ? out_bytes_ : total) - sent_);
      if (!taken.ok()) return taken.status();
      if (*taken == 0) return Status::Ok();
      sent_ += *taken;
    }
    transfer.finished->push_back(peer_);
    out_bytes_ = 0;
    sends_.pop_front();
  }
  return Status::Ok();
}

size_t PeerLink::TakeStaged(uint8_t* to, size_t bytes) {
  const size_t taken = std::min(bytes, in_end_ - in_begin_);
  if (taken > 0) std::memcpy(to, in_.data() + in_begin_, taken);
  in_begin_ += taken;
  return taken;
}

// True once the header of receives_.front() is read and right; false when it has not arrived.
Result<bool> PeerLink::ReadHeader() {
  while (in_end_ - in_begin_ < kHeaderBytes) {
    std::memmove(in_.data(), in_.data() + in_begin_, in_end_ - in_begin_);
    in_end_ -= std::exchange(in_begin_, 0);
    Result<size_t> arrived = channel_->Receive(in_.data() + in_end_, kStageBytes - in_end_);
    if (!arrived.ok()) return arrived.status();
    if (*arrived == 0) return false;
    in_end_ += *arrived;
  }
  uint64_t header[2];
  TakeStaged(reinterpret_cast<uint8_t*>(header), kHeaderBytes);
  const Transfer& wanted = receives_.front();
  if (header[0] == wanted.slot && header[1] == wanted.bytes) return true;
  return Status(StatusCode::kCorrupt,
                "rank " + std::to_string(peer_) + " sent " + std::to_string(header[1]) +
                    " bytes for slot " + std::to_string(header[0]) + " where " +
                    std::to_string(wanted.bytes) + " bytes for slot " +
                    std::to_string(wanted.slot) +
                    " were due; install the same versions of rueda and Gloo on every host")
      .Blame(peer_);
}

// True once the payload is whole.
Result<bool> PeerLink::ReadPayload(const Transfer& transfer) {
  received_ += TakeStaged(transfer.data + received_, transfer.bytes - received_);
  while (received_ < transfer.bytes) {
    Result<size_t> arrived =
        channel_->Receive(transfer.data + received_, transfer.bytes - received_);
    if (!arrived.ok()) return arrived.status();
    if (*arrived == 0) return false;
    received_ += *arrived;
  }
  return true;
}

Status PeerLink::Receive() {
  while (!receives_.empty()) {
    if (!in_payload_) {
      Result<bool> header = ReadHeader();
      if (!header.ok()) return header.status();
      if (!*header) return Status::Ok();
      in_payload_ = true;
      received_ = 0;
    }
    const Transfer& transfer = receives_.front();
    Result<bool> whole = ReadPayload(transfer);
    if (!whole.ok()) return whole.status();
    if (!*whole) return Status::Ok();
    transfer.finished->push_back(peer_);
    in_payload_ = false;
    receives_.pop_front();
  }
  return Status::Ok();
}

void PeerLink::Discard(const Completions* finished) {
  const auto posted_for_it = [finished](const Transfer& transfer) {
    return transfer.finished == finished;
  };
  std::erase_if(sends_, posted_for_it);
  std::erase_if(receives_, posted_for_it);
}

}  // namespace rueda::backends
