// GradientSlot: one parameter and the place of its gradient in a bucket.
//
// It keeps `parameter.grad` and the bucket's memory in step: before the bucket is submitted the
// gradient's values are in the bucket, and when the optimizer runs `parameter.grad` is a view of it
// (or, under compression, an ordinary tensor filled from it). Everything a user may do to `.grad`
// in between is met here and nowhere else.
//
// Not thread-safe in itself: autograd runs the hooks of one parameter one after the other, and
// everything else happens between backward passes. No Python, no GIL of its own (but PyTorch takes
// the GIL when the last reference to a tensor goes that Python has seen).
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "control/request.h"
#include "core/status.h"
#include "torch/gradient_bucket.h"

namespace rueda::pytorch {

// What travels between ranks: the gradients themselves, or rounded to 16 bits.
enum class Compression : uint8_t { kNone, kFloat16, kBFloat16 };

class GradientSlot {
 public:
  static constexpr size_t kNoGroup = static_cast<size_t>(-1);

  GradientSlot(std::string name, at::Tensor parameter, Compression compression);
  GradientSlot(const GradientSlot&) = delete;
  GradientSlot& operator=(const GradientSlot&) = delete;

  const std::string& name() const { return name_; }
  const at::Tensor& parameter() const { return parameter_; }

  // Why this parameter's gradient cannot be reduced, in words that name it.
  Status CheckParameter() const;
  // How its gradient travels, as the parameter is now.
  control::TensorSpec Spec() const;

  // Gives the gradient its place in `bucket`, which outlives it or is taken away by Leave.
  void Enter(GradientBucket* bucket, size_t position);
  // Without a place. A gradient that is a view of the old one stays valid and keeps its memory.
  void Leave();
  GradientBucket* bucket() const { return bucket_; }
  // Whether element type, shape and device are still those that it was given its place for.
  bool Fits() const;
  // Whether a view with the parameter's present strides would look different.
  bool FitsStrides() const;

  // Puts the gradient's values, or zeros where there is none, into the bucket. Afterwards, without
  // compression, `.grad` is a view of the bucket unless it is None: a sparse one becomes dense
  // until Deliver. May be called again before the bucket is submitted.
  Status TakeIn();
  // After the reduction: `.grad` holds the bucket's values. A parameter that requires a gradient
  // has one then, as in Horovod, even if no rank computed it.
  void Deliver();

  bool HasSparseGradient() const;

  // Backward passes since the last synchronisation.
  std::atomic<int> passes{0};
  // The group of the reducer's that it belongs to.
  size_t group = kNoGroup;
  // Reduced by the reducer's caller: it gets no place.
  bool apart = false;
  // Deliver makes the gradient sparse again if the last one computed on this rank was: SparseAdam
  // takes no other.
  bool stays_sparse = false;
  // How often TakeIn had to copy because `.grad` was not a view of the bucket.
  uint64_t copies_in() const { return copies_in_; }

 private:
  // What a gradient looks like that accumulates fastest: PyTorch's "gradient layout contract".
  struct Geometry {
    at::ScalarType type = at::ScalarType::Undefined;
    c10::SmallVector<int64_t, 5> sizes;
    c10::SmallVector<int64_t, 5> strides;
  };
  Geometry PresentGeometry() const;
  at::ScalarType WireType(at::ScalarType type) const;

  bool compressed() const { return wire_type_ != geometry_.type; }
  at::Tensor MakeView() const;
  Status CheckGradient(const at::Tensor& gradient) const;
  // Whether the bytes of `tensor` are those that travel, in their order.
  bool HasGeometry(const at::Tensor& tensor) const;
  // Whether `tensor` is this slot's memory, seen as the gradient it should be.
  bool IsView(const at::Tensor& tensor) const;
  // Makes sure that nobody's tensor changes when the bucket is overwritten.
  void Reclaim();
  void Overwrite(const at::Tensor& gradient);
  bool CopyBytes(const at::Tensor& gradient);
  void DeliverCopy(at::Tensor& gradient);
  void DeliverSparse(at::Tensor& gradient);

  const std::string name_;
  const at::Tensor parameter_;
  const Compression compression_;

  GradientBucket* bucket_ = nullptr;
  uint8_t* address_ = nullptr;
  Geometry geometry_;
  at::ScalarType wire_type_ = at::ScalarType::Undefined;
  // The gradient as a view of the bucket with a Storage of its own, so that torch.save of one
  // gradient writes one gradient. Under compression: the 16-bit values, which no user sees.
  at::Tensor view_;
  uint64_t copies_in_ = 0;
  // Sparse dimensions of the gradient that was last computed here; 0 if it was dense.
  int64_t sparse_dimensions_ = 0;
};

}  // namespace rueda::pytorch
