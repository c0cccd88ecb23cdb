#include "torch/gradient_bucket.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace rueda::pytorch {
namespace {

Result<BucketMemory> AllocatePlaced(int64_t bytes, engine::Engine& engine) {
  const Result<std::shared_ptr<transport::ArenaBuffer>> buffer = engine.Allocate(bytes);
  if (!buffer.ok()) return buffer.status();
  return BucketMemory{(*buffer)->data(), (*buffer)->offset(), *buffer};
}

// Zeroed, aligned like a placed bucket; kSystem when there is none.
Result<BucketMemory> AllocatePrivate(int64_t bytes) {
  const auto alignment = static_cast<size_t>(control::kLayoutAlignment);
  auto* data = static_cast<uint8_t*>(std::aligned_alloc(alignment, static_cast<size_t>(bytes)));
  if (data == nullptr) {
    return Status(StatusCode::kSystem,
                  "no memory for a gradient bucket of " + std::to_string(bytes) + " bytes");
  }
  std::memset(data, 0, static_cast<size_t>(bytes));
  return BucketMemory{data, control::kPrivate, std::shared_ptr<const void>(data, std::free)};
}

bool IsUniform(const std::vector<control::TensorSpec>& tensors) {
  return std::all_of(tensors.begin(), tensors.end(), [&](const control::TensorSpec& tensor) {
    return tensor.dtype == tensors.front().dtype;
  });
}

}  // namespace

Result<std::unique_ptr<GradientBucket>> GradientBucket::Make(control::Request request,
                                                             std::vector<size_t> members,
                                                             engine::Engine& engine) {
  control::Layout layout = control::LayoutOf(request.tensors);
  // Tensors without elements need no memory, but a bucket has an address.
  const int64_t bytes = std::max(layout.bytes, control::kLayoutAlignment);
  // A full arena, or a road without one, costs speed and not the job: peers are told by kPrivate.
  // What is reduced in place is one array of one element type.
  Result<BucketMemory> memory =
      IsUniform(request.tensors) ? AllocatePlaced(bytes, engine) : AllocatePrivate(bytes);
  if (!memory.ok()) memory = AllocatePrivate(bytes);
  if (!memory.ok()) return memory.status();
  request.placement = memory->placement;
  return std::unique_ptr<GradientBucket>(new GradientBucket(
      std::move(request), std::move(members), std::move(layout), std::move(memory).value()));
}

GradientBucket::GradientBucket(control::Request request, std::vector<size_t> members,
                               control::Layout layout, BucketMemory memory)
    : members_(std::move(members)),
      request_(std::make_shared<const control::Request>(std::move(request))),
      layout_(std::move(layout)),
      memory_(std::move(memory)),
      missing_(members_.size()) {
  for (size_t i = 0; i < members_.size(); ++i) {
    const control::TensorSpec& spec = request_->tensors[i];
    payload_bytes_ += static_cast<int64_t>(spec.bytes());
    buffers_.inputs.push_back({address(i), spec.count(), spec.dtype});
  }
  buffers_.outputs = buffers_.inputs;
}

uint8_t* GradientBucket::address(size_t position) const {
  return memory_.data + layout_.offsets[position];
}

bool GradientBucket::CountIn() { return missing_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

void GradientBucket::Submit(engine::Engine& engine) {
  if (submitted()) return;
  submitted_at_ = SteadyClock().Now();
  Result<engine::TicketPtr> ticket =
      engine.Submit({request_, buffers_, memory_.owner, /*urgent=*/true});
  if (ticket.ok()) {
    ticket_ = *ticket;
  } else {
    refusal_ = ticket.status();
  }
  submitted_.store(true, std::memory_order_release);
}

engine::TicketPtr GradientBucket::pending() const {
  if (!submitted() || ticket_ == nullptr || ticket_->done()) return nullptr;
  return ticket_;
}

Status GradientBucket::outcome() const { return ticket_ == nullptr ? refusal_ : ticket_->status(); }

void GradientBucket::Reset() {
  ticket_ = nullptr;
  refusal_ = Status::Ok();
  delivered_ = false;
  missing_.store(members_.size(), std::memory_order_relaxed);
  submitted_.store(false, std::memory_order_relaxed);
}

}  // namespace rueda::pytorch
