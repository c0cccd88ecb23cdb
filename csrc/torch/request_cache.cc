#include "torch/request_cache.h"

#include <bit>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "torch/operations.h"
#include "torch/tensor_bridge.h"

namespace rueda::pytorch {
namespace {

// A program that never uses a name twice must not be remembered for ever.
constexpr size_t kMostRequests = 8192;

control::SharedRequest Build(const OperationCall& call, std::string_view name) {
  auto request = std::make_shared<control::Request>();
  request->kind = call.kind;
  request->op = call.op;
  request->root = call.root;
  request->prescale = call.prescale;
  request->postscale = call.postscale;
  request->process_set = call.process_set;
  request->priority = call.priority;
  request->parts = call.parts;
  request->transient = !call.name.has_value();
  request->name = name;
  const std::string count = "of" + std::to_string(call.inputs.size());
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const std::string ending = call.grouped ? "_" + std::to_string(i) + count : "";
    request->tensors.push_back(SpecOf(request->name + ending, call.inputs[i]));
  }
  return request;
}

bool SameTensor(const control::TensorSpec& spec, const at::Tensor& tensor) {
  return tensor.sizes() == at::IntArrayRef(spec.shape) &&
         spec.dtype == *DTypeOf(tensor.scalar_type());
}

// Names of a group's tensors follow from its name and their number; a group of one has another one
// than the tensor alone.
bool SameTensors(const control::Request& request, const OperationCall& call) {
  const Tensors& inputs = call.inputs;
  if (request.tensors.size() != inputs.size()) return false;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!SameTensor(request.tensors[i], inputs[i])) return false;
  }
  return inputs.empty() || (request.tensors[0].name != request.name) == call.grouped;
}

bool Same(const control::Request& request, const OperationCall& call) {
  const auto same_bits = [](double a, double b) {
    return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
  };
  return request.kind == call.kind && request.op == call.op && request.root == call.root &&
         same_bits(request.prescale, call.prescale) &&
         same_bits(request.postscale, call.postscale) && request.priority == call.priority &&
         request.parts == call.parts && SameTensors(request, call);
}

}  // namespace

control::SharedRequest RequestCache::RequestOf(const OperationCall& call, std::string_view name) {
  if (!call.name.has_value()) return Build(call, name);
  const control::OfferKeyView key{call.process_set, name};
  const auto known = known_.find(key);
  if (known != known_.end()) {
    if (!Same(*known->second, call)) known->second = Build(call, name);
    return known->second;
  }
  if (known_.size() >= kMostRequests) known_.clear();
  return known_.emplace(control::OfferKey(key), Build(call, name)).first->second;
}

}  // namespace rueda::pytorch
