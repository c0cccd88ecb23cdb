#include "torch/operations.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <numeric>
#include <string>
#include <utility>

#include "control/process_sets.h"
#include "torch/tensor_bridge.h"

namespace rueda::pytorch {
namespace {

std::string LabelOf(const OperationCall& call, size_t index, std::string_view name) {
  const std::string quoted = "'" + std::string(name) + "'";
  if (!call.grouped) return "tensor " + quoted;
  return "tensor " + std::to_string(index) + " of " + quoted;
}

Status CheckOutput(const at::Tensor& output, const at::Tensor& input, const std::string& label) {
  RUEDA_RETURN_IF_ERROR(CheckReadable(output, "the output for " + label));
  if (output.sizes() == input.sizes() && output.scalar_type() == input.scalar_type()) return {};
  return {StatusCode::kInvalidArgument,
          "the output for " + label + " must have its input's shape and type"};
}

bool SharesElements(const at::Tensor& tensor) {
  return !IsRowMajor(tensor) && at::has_internal_overlap(tensor) == at::MemOverlap::Yes;
}

// Labels cost an allocation: they are made where something is wrong.
Status CheckTensor(const OperationCall& call, size_t i, std::string_view name) {
  const at::Tensor& input = call.inputs[i];
  if (!IsReadable(input)) return CheckReadable(input, LabelOf(call, i, name));
  if (PartsDiffer(call.kind) && input.dim() == 0) {
    return {StatusCode::kInvalidArgument,
            LabelOf(call, i, name) +
                " has no first dimension to divide or join along; use tensor.reshape(1)"};
  }
  if (!call.in_place && call.outputs.empty()) return Status::Ok();
  const at::Tensor& output = call.in_place ? input : call.outputs[i];
  if (!output.is_same(input)) {
    RUEDA_RETURN_IF_ERROR(CheckOutput(output, input, LabelOf(call, i, name)));
  }
  if (!SharesElements(output)) return Status::Ok();
  return {StatusCode::kInvalidArgument,
          LabelOf(call, i, name) +
              " has elements that share memory (an expanded tensor), so it cannot be "
              "written in place; clone it first"};
}

Status CheckCall(const OperationCall& call, std::string_view name) {
  if (!call.outputs.empty() && call.outputs.size() != call.inputs.size()) {
    return {StatusCode::kInvalidArgument,
            "'" + std::string(name) + "' has " + std::to_string(call.outputs.size()) +
                " outputs for " + std::to_string(call.inputs.size()) + " tensors"};
  }
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    RUEDA_RETURN_IF_ERROR(CheckTensor(call, i, name));
  }
  return Status::Ok();
}

// Which call of the user the name belongs to.
Status TellFirst(const Status& duplicate, const StartedWork* first) {
  const std::string who =
      first == nullptr ? "a DistributedOptimizer's" : Describe(first->call_site);
  if (who.empty()) return duplicate;
  return {duplicate.code(), duplicate.message() + ". The first one is " + who + "."};
}

// Results are data; the caller's autograd function gives them a history.
at::Tensor RowMajorCopy(const at::Tensor& tensor) {
  const at::NoGradGuard no_grad;
  return tensor.resolve_neg().resolve_conj().contiguous();
}

at::Tensor EmptyLike(const at::Tensor& tensor) {
  const at::NoGradGuard no_grad;
  return tensor.new_empty(tensor.sizes());
}

// What has to live for `call`, and what the engine reads and writes for it.
struct Prepared {
  StartedWork work;
  BucketBuffers buffers;
};

Prepared PrepareInPlace(OperationCall* call) {
  Prepared prepared;
  auto& [work, buffers] = prepared;
  work.outputs = std::move(call->inputs);
  buffers.outputs.reserve(work.outputs.size());
  for (size_t i = 0; i < work.outputs.size(); ++i) {
    const at::Tensor& output = work.outputs[i];
    if (IsRowMajor(output)) {
      buffers.outputs.push_back(OutputViewOf(output));
    } else {
      work.staged.push_back({i, RowMajorCopy(output)});
      buffers.outputs.push_back(OutputViewOf(work.staged.back().tensor));
    }
  }
  buffers.inputs = buffers.outputs;
  return prepared;
}

Prepared PrepareApart(OperationCall* call, bool has_outputs) {
  Prepared prepared;
  auto& [work, buffers] = prepared;
  work.inputs = std::move(call->inputs);
  buffers.inputs.reserve(work.inputs.size());
  if (has_outputs) {
    work.outputs.reserve(work.inputs.size());
    buffers.outputs.reserve(work.inputs.size());
  }
  for (size_t i = 0; i < work.inputs.size(); ++i) {
    at::Tensor& input = work.inputs[i];
    const bool copied = !IsRowMajor(input);
    if (copied) input = RowMajorCopy(input);
    buffers.inputs.push_back(InputViewOf(input));
    if (!has_outputs) continue;
    at::Tensor& output = work.outputs.emplace_back(
        call->outputs.empty() ? EmptyLike(input) : std::move(call->outputs[i]));
    if (IsRowMajor(output)) {
      buffers.outputs.push_back(OutputViewOf(output));
    } else {
      // The row-major copy of an input is free to be written.
      work.staged.push_back({i, copied ? input : EmptyLike(input)});
      buffers.outputs.push_back(OutputViewOf(work.staged.back().tensor));
    }
  }
  return prepared;
}

Prepared Prepare(OperationCall* call, int own_rank) {
  const bool receives = call->kind != OpKind::kReduce || call->root == own_rank;
  const bool has_outputs = receives && !PartsDiffer(call->kind);
  Prepared prepared =
      call->in_place && has_outputs ? PrepareInPlace(call) : PrepareApart(call, has_outputs);
  prepared.work.grouped = call->grouped;
  prepared.work.with_splits = call->with_splits;
  prepared.work.call_site = std::move(call->call_site);
  return prepared;
}

// The engine writes behind PyTorch's back; graphs that saved the old values must notice.
void BumpVersions(at::TensorList outputs) {
  for (const at::Tensor& output : outputs) {
    if (!output.is_inference()) output.unsafeGetTensorImpl()->bump_version();
  }
}

// Rows by the rank that they come from, as Horovod returns them.
at::Tensor ReceivedSplits(const engine::OwnedResult& result) {
  at::Tensor splits = at::empty({static_cast<int64_t>(result.first_dims.size())}, at::kInt);
  for (size_t i = 0; i < result.first_dims.size(); ++i) {
    splits[static_cast<int64_t>(i)] = static_cast<int32_t>(result.first_dims[i]);
  }
  return splits;
}

at::Tensor TensorOf(engine::OwnedResult* result, const at::Tensor& input) {
  std::vector<int64_t> sizes = input.sizes().vec();
  sizes[0] = std::accumulate(result->first_dims.begin(), result->first_dims.end(), int64_t{0});
  auto owner = std::make_unique<std::shared_ptr<uint8_t[]>>(std::move(result->data));
  uint8_t* data = owner->get();
  return at::for_blob(data, sizes)
      .context(owner.release(),
               [](void* context) { delete static_cast<std::shared_ptr<uint8_t[]>*>(context); })
      .options(at::TensorOptions(input.scalar_type()))
      .target_device(at::Device(at::kCPU))
      .make_tensor();
}

// What unnamed calls count by. Two ranks that send to each other count by direction.
std::string CountedAs(const OperationCall& call) {
  const std::string kind(NameOf(call.kind));
  return call.process_set < control::kPairBit ? kind : kind + ".from." + std::to_string(call.root);
}

}  // namespace

Operations::Operations(std::shared_ptr<engine::Engine> engine, int64_t first_handle)
    : engine_(std::move(engine)), handles_(first_handle) {}

Result<int64_t> Operations::Start(OperationCall&& call) {
  const bool named = call.name.has_value();
  std::string counted, automatic;
  if (!named) {
    counted = CountedAs(call);
    automatic = call_counts_.NextName(call.process_set, counted);
  }
  const std::string_view name = named ? *call.name : automatic;
  RUEDA_RETURN_IF_ERROR(CheckCall(call, name));
  const auto request = requests_.RequestOf(call, name);
  auto [work, buffers] = Prepare(&call, engine_->topology().rank);
  RUEDA_RETURN_IF_ERROR(CheckDisjoint(buffers.inputs, buffers.outputs, request->tensors));
  Result<engine::TicketPtr> ticket = engine_->Submit(
      {request, std::move(buffers), /*keep_alive=*/nullptr, call.urgent, call.urgent});
  if (ticket.status().code() == StatusCode::kDuplicateName) {
    return TellFirst(ticket.status(), handles_.FindByName(call.process_set, name));
  }
  if (!ticket.ok()) return ticket.status();
  if (!named) call_counts_.Count(call.process_set, counted);
  BumpVersions(work.outputs);
  work.request = request;
  work.ticket = std::move(ticket).value();
  return handles_.Insert(std::move(work));
}

Result<Tensors> Operations::Finish(StartedWork&& work) {
  const OpKind kind = work.request->kind;
  if (!work.ticket->status().ok()) return work.ticket->status();
  if (kind == OpKind::kJoin) call_counts_.EndJoin(work.request->process_set);
  if (kind == OpKind::kRemoveProcessSet) {
    call_counts_.Forget(static_cast<uint32_t>(work.request->parts.front()));
  }
  if (PartsDiffer(kind)) {
    std::vector<engine::OwnedResult>& results = work.ticket->results();
    for (size_t i = 0; i < results.size(); ++i) {
      work.outputs.push_back(TensorOf(&results[i], work.inputs[i]));
    }
    if (work.with_splits) work.outputs.push_back(ReceivedSplits(results.front()));
    return std::move(work.outputs);
  }
  if (kind == OpKind::kReduce && work.outputs.empty()) {
    // Off the root, as after a gather, there is a tensor without elements.
    for (const at::Tensor& input : work.inputs) work.outputs.push_back(input.new_empty({0}));
    return std::move(work.outputs);
  }
  if (work.staged.empty()) return std::move(work.outputs);
  const at::NoGradGuard no_grad;
  for (const auto& [index, tensor] : work.staged) work.outputs[index].copy_(tensor);
  return std::move(work.outputs);
}

}  // namespace rueda::pytorch
