// tensor_bridge: PyTorch's tensors in rueda's words, and which of them the engine can take.
//
// Pure functions; any thread. Nothing here keeps a tensor: views are valid as long as their tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "control/request.h"
#include "core/status.h"
#include "core/types.h"

namespace rueda::pytorch {

// "tensor 'fc.weight'", or "tensor 2 of 'fc'" and the like: how messages call it.
using TensorLabel = std::string;

// rueda's element type; none for quantized and packed ones.
std::optional<DType> DTypeOf(at::ScalarType type);
at::ScalarType ScalarTypeOf(DType dtype);

// Whether the engine can read the tensor's memory: it is on no other device, not sparse, has
// storage, and an element type that rueda has.
bool IsReadable(const at::Tensor& tensor);
// kInvalidArgument or kUnsupported, in words, for a tensor that is not.
Status CheckReadable(const at::Tensor& tensor, const TensorLabel& label);

// True when the elements lie one after the other in row-major order, as the engine wants them.
bool IsRowMajor(const at::Tensor& tensor);

// For readable tensors.
control::TensorSpec SpecOf(std::string name, const at::Tensor& tensor);
// For readable row-major tensors. An output is made private first where PyTorch
// shares its memory lazily.
TensorView InputViewOf(const at::Tensor& tensor);
TensorView OutputViewOf(const at::Tensor& tensor);

// kInvalidArgument naming two outputs that share memory, or an output that shares memory with
// another's input: the engine may write them in any order.
Status CheckDisjoint(const std::vector<TensorView>& inputs, const std::vector<TensorView>& outputs,
                     const std::vector<control::TensorSpec>& specs);

}  // namespace rueda::pytorch
