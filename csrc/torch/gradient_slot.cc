#include "torch/gradient_slot.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "device/copy.h"
#include "torch/tensor_bridge.h"

namespace rueda::pytorch {
namespace {

// Up to here PyTorch's copy costs more in being called than in copying; above, it uses its threads
// where it has some.
constexpr size_t kPlainCopyBytes = size_t{256} << 10;
// From here on copies into memory that peers map pass the caches: the lines need not be read before
// they are written, and the gradient, which autograd has just written, stays in the cache for the
// next one that takes its memory. Smaller ones would wait for their last store.
constexpr size_t kLeastStreamed = size_t{64} << 10;

bool Equal(at::IntArrayRef a, at::IntArrayRef b) { return a == b; }

// Whether anybody but the slot, which holds one reference, can see this tensor or its memory.
bool IsSeenByOthers(const at::Tensor& view) {
  // PyTorch keeps the Python object of a tensor alive as long as C++ holds the tensor, and that
  // object holds a reference in turn: it counts only if Python holds it as well.
  const bool dormant = view.unsafeGetTensorImpl()->pyobj_slot()->has_unique_reference();
  return view.use_count() > (dormant ? 2U : 1U) || view.storage().use_count() > 1;
}

// " (memory order 0 2 3 1)" for what is not row-major, else nothing.
std::string MemoryOrder(at::IntArrayRef sizes, at::IntArrayRef strides) {
  std::vector<size_t> order;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] != 1) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return strides[a] > strides[b]; });
  if (std::is_sorted(order.begin(), order.end())) return {};
  std::string text = " (memory order";
  for (const size_t dimension : order) text.append(" ").append(std::to_string(dimension));
  return text.append(")");
}

}  // namespace

GradientSlot::GradientSlot(std::string name, at::Tensor parameter, Compression compression)
    : name_(std::move(name)), parameter_(std::move(parameter)), compression_(compression) {}

Status GradientSlot::CheckParameter() const {
  const std::string label = "parameter '" + name_ + "'";
  RUEDA_RETURN_IF_ERROR(CheckReadable(parameter_, label));
  const DType dtype = *DTypeOf(parameter_.scalar_type());
  if (!IsReducible(dtype) && !IsComplex(dtype)) {
    return {StatusCode::kUnsupported, label + " has the dtype " + std::string(NameOf(dtype)) +
                                          ", which can be moved but not reduced; keep a copy of "
                                          "higher precision in the optimizer"};
  }
  if (!parameter_.is_leaf()) {
    return {StatusCode::kInvalidArgument,
            label +
                " is not a leaf tensor, so no gradient accumulates in it; pass the tensor that "
                "the optimizer updates"};
  }
  return Status::Ok();
}

control::TensorSpec GradientSlot::Spec() const {
  const Geometry geometry = PresentGeometry();
  // Ranks compare shapes, not strides, so a memory format that not all ranks use shows in the name.
  return {name_ + MemoryOrder(geometry.sizes, geometry.strides), *DTypeOf(WireType(geometry.type)),
          parameter_.sizes().vec()};
}

GradientSlot::Geometry GradientSlot::PresentGeometry() const {
  Geometry geometry;
  geometry.type = parameter_.scalar_type();
  const at::IntArrayRef sizes = parameter_.sizes();
  geometry.sizes.assign(sizes.begin(), sizes.end());
  if (parameter_.is_non_overlapping_and_dense()) {
    const at::IntArrayRef strides = parameter_.strides();
    geometry.strides.assign(strides.begin(), strides.end());
    return geometry;
  }
  geometry.strides.resize(sizes.size());
  int64_t stride = 1;
  for (size_t i = sizes.size(); i-- > 0;) {
    geometry.strides[i] = stride;
    stride *= std::max<int64_t>(sizes[i], 1);
  }
  return geometry;
}

at::ScalarType GradientSlot::WireType(at::ScalarType type) const {
  // What has 16 bits already is sent as it is: converting would lose range or digits for nothing.
  // A complex number has no short form.
  if (compression_ == Compression::kNone || c10::elementSize(type) <= 2) return type;
  if (c10::isComplexType(type)) return type;
  return compression_ == Compression::kFloat16 ? at::ScalarType::Half : at::ScalarType::BFloat16;
}

void GradientSlot::Enter(GradientBucket* bucket, size_t position) {
  bucket_ = bucket;
  address_ = bucket->address(position);
  geometry_ = PresentGeometry();
  wire_type_ = WireType(geometry_.type);
  view_ = MakeView();
}

void GradientSlot::Leave() {
  bucket_ = nullptr;
  address_ = nullptr;
  view_.reset();
}

bool GradientSlot::Fits() const {
  return parameter_.scalar_type() == geometry_.type && parameter_.device().is_cpu() &&
         Equal(parameter_.sizes(), geometry_.sizes);
}

bool GradientSlot::FitsStrides() const {
  return Equal(PresentGeometry().strides, geometry_.strides);
}

at::Tensor GradientSlot::MakeView() const {
  // A view made in inference mode could never take part in a backward pass.
  const c10::InferenceMode normal(false);
  auto owner = std::make_unique<std::shared_ptr<const void>>(bucket_->memory());
  const auto release = [](void* context) {
    delete static_cast<std::shared_ptr<const void>*>(context);
  };
  return at::for_blob(address_, geometry_.sizes)
      .strides(at::IntArrayRef(geometry_.strides))
      .context(owner.release(), release)
      .options(at::TensorOptions(wire_type_))
      .target_device(at::Device(at::kCPU))
      .make_tensor();
}

bool GradientSlot::HasGeometry(const at::Tensor& tensor) const {
  return tensor.layout() == at::kStrided && tensor.scalar_type() == wire_type_ &&
         Equal(tensor.sizes(), geometry_.sizes) && Equal(tensor.strides(), geometry_.strides) &&
         !tensor.is_neg() && !tensor.is_conj();
}

bool GradientSlot::IsView(const at::Tensor& tensor) const {
  if (!HasGeometry(tensor)) return false;
  if (tensor.numel() == 0) return true;  // PyTorch gives it no address
  return tensor.has_storage() && tensor.storage().data() != nullptr &&
         tensor.const_data_ptr() == address_;
}

bool GradientSlot::HasSparseGradient() const {
  const at::Tensor& gradient = parameter_.grad();
  return gradient.defined() && gradient.layout() != at::kStrided;
}

Status GradientSlot::TakeIn() {
  at::Tensor& gradient = parameter_.mutable_grad();
  // A parameter that was frozen since it got its place counts as zeros; its `.grad` is let alone.
  const bool has_gradient = gradient.defined() && parameter_.requires_grad();
  if (has_gradient) {
    RUEDA_RETURN_IF_ERROR(CheckGradient(gradient));
    if (!compressed() && IsView(gradient)) return Status::Ok();
  }
  Reclaim();
  if (!has_gradient) {
    std::memset(address_, 0, static_cast<size_t>(view_.nbytes()));
    return Status::Ok();
  }
  Overwrite(gradient);
  if (!compressed()) gradient = view_;
  return Status::Ok();
}

Status GradientSlot::CheckGradient(const at::Tensor& gradient) const {
  const std::string label = "the gradient of parameter '" + name_ + "'";
  if (!gradient.device().is_cpu() || !Equal(gradient.sizes(), geometry_.sizes)) {
    return {StatusCode::kInvalidArgument,
            label + " does not have the parameter's shape and device"};
  }
  return Status::Ok();
}

void GradientSlot::Reclaim() {
  // User code can point our tensor elsewhere (`p.grad.data = x`, `set_`, share_memory_): leave it
  // to them and take a new one.
  if (!IsView(view_)) {
    view_ = MakeView();
    return;
  }
  if (!IsSeenByOthers(view_)) return;
  // Somebody kept last step's gradient and set `.grad` to None or to another tensor, or froze the
  // parameter, after which PyTorch would never write into the old one. So their tensor gets the old
  // values in memory of its own, and the bucket a view of its own.
  const size_t bytes = view_.storage().nbytes();
  at::DataPtr copy = c10::GetCPUAllocator()->allocate(bytes);
  if (bytes > 0) std::memcpy(copy.get(), address_, bytes);
  view_.storage().set_data_ptr_noswap(std::move(copy));
  view_ = MakeView();
}

void GradientSlot::Overwrite(const at::Tensor& gradient) {
  ++copies_in_;
  sparse_dimensions_ = gradient.layout() == at::kSparse ? gradient.sparse_dim() : 0;
  if (CopyBytes(gradient)) return;
  // With create_graph the hooks run with gradients enabled and `.grad` is part of a graph.
  const at::NoGradGuard no_grad;
  view_.copy_(gradient.layout() == at::kStrided ? gradient : gradient.to_dense());
}

// Where that is all there is to do, and this thread should.
bool GradientSlot::CopyBytes(const at::Tensor& gradient) {
  const auto bytes = static_cast<size_t>(view_.nbytes());
  if (!HasGeometry(gradient) || gradient.storage().data() == nullptr) return false;
  if (bytes > kPlainCopyBytes && (!bucket_->placed() || at::get_num_threads() > 1)) return false;
  if (bytes >= kLeastStreamed && bucket_->placed()) {
    device::CopyStreaming(address_, gradient.const_data_ptr(), static_cast<int64_t>(bytes));
  } else {
    std::memcpy(address_, gradient.const_data_ptr(), bytes);
  }
  return true;
}

void GradientSlot::Deliver() {
  if (!parameter_.requires_grad()) return;  // frozen meanwhile
  if (!IsView(view_)) view_ = MakeView();
  at::Tensor& gradient = parameter_.mutable_grad();
  if (stays_sparse && sparse_dimensions_ > 0 && Fits()) {
    DeliverSparse(gradient);
    return;
  }
  if (compressed() || !Fits()) {
    DeliverCopy(gradient);
    return;
  }
  if (!gradient.defined() || !IsView(gradient)) gradient = view_;
  // The engine wrote behind PyTorch's back; graphs that saved the old values must notice.
  gradient.unsafeGetTensorImpl()->bump_version();
}

void GradientSlot::DeliverSparse(at::Tensor& gradient) {
  const at::NoGradGuard no_grad;
  gradient = view_.to(parameter_.scalar_type()).to_sparse(sparse_dimensions_);
}

void GradientSlot::DeliverCopy(at::Tensor& gradient) {
  if (!Equal(parameter_.sizes(), geometry_.sizes)) return;  // reshaped since: nothing fits it
  const at::NoGradGuard no_grad;
  const bool reusable = gradient.defined() && gradient.layout() == at::kStrided &&
                        Equal(gradient.sizes(), geometry_.sizes) && !gradient.requires_grad() &&
                        !IsView(gradient);
  if (!reusable) {
    gradient = view_.new_empty_strided(geometry_.sizes, geometry_.strides, parameter_.options());
  }
  gradient.copy_(view_);
}

}  // namespace rueda::pytorch
