#include "bench/transport_procedure.h"

#include <utility>

#include "backends/backend.h"
#include "device/reduce.h"
#include "engine/host_job.h"

namespace rueda::bench {

Result<std::shared_ptr<TransportJob>> TransportJob::Start(const Topology& topology,
                                                          const Config& config,
                                                          engine::JobLinks links) {
  if (links.arenas.empty()) {
    return Status(StatusCode::kUnsupported, "the ranks share no memory: they met over a network");
  }
  engine::ArenaMappings mappings;
  for (const transport::UniqueFd& file : links.arenas) {
    auto mapping = transport::ArenaMapping::Map(file);
    if (!mapping.ok()) return mapping.status();
    mappings.push_back(std::move(*mapping));
  }
  Config shm = config;
  shm.backend = "shm";
  auto parts = engine::ComposeHostJob(topology, shm, std::move(mappings), std::move(links.pidfds),
                                      std::move(links.streams),
                                      StandardErrorLog(topology.rank, config.lowest_log_level()));
  if (!parts.ok()) return parts.status();
  // The caller's thread adds.
  device::UseDefaultFloatingPointMode();
  return std::shared_ptr<TransportJob>(new TransportJob(std::move(*parts)));
}

Status TransportJob::Run(const Bucket& bucket, const BucketBuffers& buffers) {
  Result<backends::Run*> run = parts_.backend->Begin(bucket, buffers);
  if (!run.ok()) return run.status();
  TimePoint limit = kNever;
  // As in the engine: where ranks outnumber processors a pause keeps from running who is waited
  // for.
  waiter_.Reset(parts_.in_a_crowd ? transport::Waiter::kCrowdSpin : transport::Waiter::kSpin);
  for (;;) {
    Result<backends::Progress> progress = (*run)->Step();
    if (progress.ok() && *progress == backends::Progress::kWaiting && waiter_.Step()) {
      const TimePoint now = std::chrono::steady_clock::now();
      if (limit == kNever) limit = now + kMeetingLimit;
      if (now >= limit) return Status(StatusCode::kTimedOut, "ranks did not come to a collective");
      const uint32_t seen = parts_.parker->Prepare();
      progress = (*run)->Step();
      if (progress.ok() && *progress == backends::Progress::kWaiting) {
        parts_.parker->Park(seen, limit);
        waiter_.Reset();
      } else {
        parts_.parker->Cancel();
      }
    }
    if (!progress.ok()) return progress.status();
    if (*progress == backends::Progress::kDone) return Status::Ok();
    if (*progress == backends::Progress::kMoved) waiter_.Reset();
  }
}

Result<std::unique_ptr<TransportProcedure>> TransportProcedure::Make(
    Board* board, std::shared_ptr<TransportJob> job, const Collective& collective, bool shared) {
  std::unique_ptr<TransportProcedure> made(new TransportProcedure());
  made->board_ = board;
  made->job_ = std::move(job);
  made->bytes_ = static_cast<size_t>(collective.count) * SizeOf(collective.dtype);
  if (shared) {
    auto buffer = made->job_->heap().Allocate(static_cast<int64_t>(made->bytes_));
    if (!buffer.ok()) return buffer.status();
    made->placement_ = (*buffer)->offset();
    made->data_ = (*buffer)->data();
    made->owner_ = std::move(*buffer);
  } else {
    Memory memory = AllocateMemory(static_cast<int64_t>(made->bytes_));
    made->data_ = memory.get();
    made->owner_ = std::shared_ptr<uint8_t[]>(std::move(memory));
  }
  made->bucket_.kind = collective.kind;
  made->bucket_.op = collective.op;
  made->bucket_.dtype = collective.dtype;
  made->bucket_.root = collective.root;
  made->bucket_.counts = {collective.count};
  if (collective.op == ReduceOp::kAverage) made->bucket_.divisor = made->job_->size();
  const TensorView view{made->data_, collective.count, collective.dtype};
  made->buffers_ = {{view}, {view}};
  return made;
}

void TransportProcedure::SetPlacements(std::vector<int64_t> placements) {
  bucket_.placements = std::move(placements);
}

Status TransportProcedure::Call() {
  if (bucket_.in_place()) RUEDA_RETURN_IF_ERROR(board_->StartLine());
  return job_->Run(bucket_, buffers_);
}

}  // namespace rueda::bench
