#include "bench/engine_procedure.h"

#include <utility>

namespace rueda::bench {

Result<std::unique_ptr<EngineProcedure>> EngineProcedure::Make(
    std::shared_ptr<engine::Engine> engine, const std::string& name, const Collective& collective,
    bool shared) {
  const int64_t ranks = engine->topology().size;
  const bool contributes_part = collective.kind == OpKind::kAllgather;
  auto request = std::make_shared<control::Request>();
  request->kind = collective.kind;
  request->op = collective.op;
  request->root = collective.root;
  request->name = name;
  request->tensors = {
      {name, collective.dtype, {contributes_part ? collective.count / ranks : collective.count}}};
  std::unique_ptr<EngineProcedure> made(new EngineProcedure());
  made->engine_ = std::move(engine);
  RUEDA_RETURN_IF_ERROR(made->Allocate(request.get(), shared));
  made->request_ = std::move(request);
  return made;
}

Status EngineProcedure::Allocate(control::Request* request, bool shared) {
  input_bytes_ = request->tensors.front().bytes();
  if (shared) {
    auto buffer = engine_->Allocate(control::LayoutOf(request->tensors).bytes);
    if (!buffer.ok()) return buffer.status();
    request->placement = (*buffer)->offset();
    input_ = (*buffer)->data();
    owner_ = std::move(*buffer);
  } else {
    Memory memory = AllocateMemory(static_cast<int64_t>(input_bytes_));
    input_ = memory.get();
    owner_ = std::shared_ptr<uint8_t[]>(std::move(memory));
  }
  output_ = input();
  return Status::Ok();
}

Status EngineProcedure::Call() {
  const control::TensorSpec& spec = request_->tensors.front();
  const TensorView view{input_, spec.count(), spec.dtype};
  engine::Submission submission{request_, {{view}, {}}, owner_, /*urgent=*/true, /*driven=*/true};
  if (!PartsDiffer(request_->kind)) submission.buffers.outputs.push_back(view);
  Result<engine::TicketPtr> ticket = engine_->Submit(std::move(submission));
  if (!ticket.ok()) return ticket.status();
  engine_->Wait(*ticket);
  last_ = std::move(*ticket);
  RUEDA_RETURN_IF_ERROR(last_->status());
  if (!last_->results().empty()) {
    const engine::OwnedResult& result = last_->results().front();
    output_ = {result.data.get(), static_cast<size_t>(result.bytes)};
  }
  return Status::Ok();
}

}  // namespace rueda::bench
