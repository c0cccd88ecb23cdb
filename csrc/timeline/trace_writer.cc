#include "timeline/trace_writer.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <chrono>
#include <system_error>
#include <utility>

#include "timeline/trace_text.h"
#include "transport/thread_setup.h"

namespace rueda::timeline {
namespace {

// Text is written to the file when there is so much, and when nothing waits. Little at once,
// because a kill ends a write in the middle.
constexpr size_t kTextBytes = size_t{64} << 10;

// While less than half of what may wait does, the thread rests for so many times as long as it
// worked: even SCHED_IDLE costs something beside ranks that yield to each other on the same cores.
constexpr int64_t kRest = 99;

int64_t ThreadCpuNanoseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// The calling thread runs when no other wants the processor, and gives it up as soon as one does.
// There is no way back without privileges, so what is left at the end is not this thread's.
void StandBack() {
  const sched_param none{};
  (void)::pthread_setschedparam(::pthread_self(), SCHED_IDLE, &none);
}

int64_t UnixMicroseconds() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since).count();
}

}  // namespace

Result<std::unique_ptr<TraceWriter>> TraceWriter::Open(const std::string& path,
                                                       const Topology& topology, TimePoint began,
                                                       Log log, size_t max_waiting_bytes) {
  Result<TraceFile> file = TraceFile::Open(path);
  if (!file.ok()) return file.status();
  std::unique_ptr<TraceWriter> writer(
      new TraceWriter(std::move(*file), topology, began, std::move(log), max_waiting_bytes));
  // The format's plain array: Perfetto opens it also where its end was torn off. The first event
  // has no comma before it.
  std::string head = "[";
  head += std::string_view(writer->text_).substr(1);
  writer->text_.clear();
  RUEDA_RETURN_IF_ERROR(writer->file_.Write(head, writer->Metadata()));
  const transport::SignalsBlocked blocked;
  try {
    writer->thread_ = std::thread(&TraceWriter::Run, writer.get());
  } catch (const std::system_error& error) {
    return SystemError("starting the timeline's thread", error.code().value());
  }
  return writer;
}

TraceWriter::TraceWriter(TraceFile file, const Topology& topology, TimePoint began, Log log,
                         size_t max_waiting_bytes)
    : file_(std::move(file)),
      path_(file_.path()),
      began_(began.time_since_epoch().count()),
      began_unix_us_(UnixMicroseconds()),
      log_(std::move(log)),
      max_waiting_bytes_(max_waiting_bytes),
      ranks_(static_cast<size_t>(topology.size)) {
  for (int rank = 0; rank < topology.size; ++rank) {
    OfRank& of_rank = ranks_[static_cast<size_t>(rank)];
    of_rank.trace = std::make_unique<RankTrace>(rank, topology.Describe(rank), &text_);
  }
}

TraceWriter::~TraceWriter() {
  Finish({});
  (void)Join();
}

void TraceWriter::Take(std::vector<ChunkOfRank> chunks) {
  {
    const std::lock_guard lock(mutex_);
    for (ChunkOfRank& chunk : chunks) {
      if (waiting_bytes_ + chunk.bytes.size() > max_waiting_bytes_) {
        Drop(chunk.rank, SpansIn(chunk.bytes));
        continue;
      }
      waiting_bytes_ += chunk.bytes.size();
      waiting_.push_back(std::move(chunk));
    }
  }
  changed_.notify_one();
}

void TraceWriter::NoteDropped(int rank, uint64_t spans) {
  const std::lock_guard lock(mutex_);
  Drop(rank, spans);
}

// Under the mutex.
void TraceWriter::Drop(int rank, uint64_t spans) {
  ranks_[static_cast<size_t>(rank)].dropped += spans;
}

void TraceWriter::Finish(std::vector<int> missing) {
  {
    const std::lock_guard lock(mutex_);
    if (finishing_) return;
    finishing_ = true;
    for (const int rank : missing) ranks_[static_cast<size_t>(rank)].missing = true;
  }
  changed_.notify_one();
}

Status TraceWriter::Join() {
  if (!thread_.joinable()) return status_;
  thread_.join();
  for (const ChunkOfRank& chunk : waiting_) RenderAndWrite(chunk);
  waiting_.clear();
  WriteOut();
  return status_;
}

void TraceWriter::Run() {
  transport::NameThisThread("rueda-timeline");
  StandBack();
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return !waiting_.empty() || finishing_; });
    if (finishing_) return;
    const ChunkOfRank chunk = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= chunk.bytes.size();
    const bool all = waiting_.empty();
    lock.unlock();
    const int64_t before = ThreadCpuNanoseconds();
    RenderAndWrite(chunk);
    if (all) WriteOut();
    const Duration pause(kRest * (ThreadCpuNanoseconds() - before));
    lock.lock();
    changed_.wait_for(lock, pause,
                      [this] { return finishing_ || waiting_bytes_ > max_waiting_bytes_ / 2; });
  }
}

void TraceWriter::RenderAndWrite(const ChunkOfRank& chunk) {
  Render(chunk);
  if (text_.size() >= kTextBytes) WriteOut();
}

void TraceWriter::Render(const ChunkOfRank& chunk) {
  OfRank& of_rank = ranks_[static_cast<size_t>(chunk.rank)];
  of_rank.clock = chunk.clock;
  of_rank.trace->set_offset(chunk.clock.offset - began_);
  // What comes before a damaged place is shown; the chunk counts as lost.
  const Status read = ReadChunk(chunk.bytes, of_rank.trace.get());
  if (!read.ok()) NoteDropped(chunk.rank, SpansIn(chunk.bytes));
}

void TraceWriter::WriteOut() {
  if (!status_.ok()) {
    text_.clear();
    return;
  }
  status_ = file_.Write(text_, Metadata());
  text_.clear();
  if (!status_.ok()) log_(LogLevel::kWarning, "the timeline ends early: " + status_.message());
}

// The file's end: an event with the metadata, and the array's bracket. Warns once, when spans were
// dropped for the first time.
std::string TraceWriter::Metadata() {
  std::string end = ",\n{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"name\":\"rueda\",\"args\":{";
  end += "\"began_unix_us\":" + std::to_string(began_unix_us_);
  end += ",\"ranks\":{";
  uint64_t dropped = 0;
  bool warn = false;
  {
    const std::lock_guard lock(mutex_);
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      const OfRank& of_rank = ranks_[rank];
      dropped += of_rank.dropped;
      end += (rank == 0 ? "\"" : ",\"") + std::to_string(rank) +
             "\":{\"dropped_spans\":" + std::to_string(of_rank.dropped) +
             ",\"complete\":" + (of_rank.missing ? "false" : "true") +
             ",\"clock_offset_ns\":" + std::to_string(of_rank.clock.offset) +
             ",\"clock_measured_ns\":" + std::to_string(of_rank.clock.measured) +
             ",\"clock_error_ns\":" + std::to_string(of_rank.clock.error) + "}";
    }
    warn = dropped > 0 && !std::exchange(warned_, warned_ || dropped > 0);
  }
  if (warn) {
    log_(LogLevel::kWarning,
         "spans come faster than the timeline '" + path_ +
             "' can be written, and some are left out; how many is told at the end of the file");
  }
  return end + "}}}\n]\n";
}

}  // namespace rueda::timeline
