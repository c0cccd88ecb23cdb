// TraceWriter: the thread on rank 0 that makes a trace of what the ranks recorded.
//
// It sleeps on a condition, and its policy is SCHED_IDLE: it takes processor time that nobody else
// wants, and of that one part in a hundred as long as it keeps up. Whoever ends the timeline writes
// the rest. What is not written yet is bounded; beyond it chunks are dropped and their spans
// counted, which the trace's metadata and one warning tell. A file that cannot be written any more
// is a warning, too, and never an error of the job.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/log.h"
#include "core/status.h"
#include "core/types.h"
#include "timeline/rank_trace.h"
#include "timeline/trace_file.h"

namespace rueda::timeline {

// How a rank's clock stands to rank 0's, for times and for the metadata.
struct ClockReading {
  int64_t offset = 0;    // added to the rank's times
  int64_t measured = 0;  // what the exchanges said
  int64_t error = 0;     // at most so far from the truth
};

struct ChunkOfRank {
  int rank = 0;
  ClockReading clock;
  std::vector<uint8_t> bytes;
};

class TraceWriter {
 public:
  // What may wait to be written, unless Open is told another bound.
  static constexpr size_t kMaxWaitingBytes = size_t{32} << 20;

  // Opens the file, writes an empty trace and starts the thread. `began` is the trace's time 0 by
  // rank 0's clock. kInvalidArgument for a path that cannot be written.
  static Result<std::unique_ptr<TraceWriter>> Open(const std::string& path,
                                                   const Topology& topology, TimePoint began,
                                                   Log log,
                                                   size_t max_waiting_bytes = kMaxWaitingBytes);
  // Finishes if nobody did, and joins the thread.
  ~TraceWriter();
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;

  // Never block on the disk; any thread.
  void Take(std::vector<ChunkOfRank> chunks);
  // A rank had no room for so many spans.
  void NoteDropped(int rank, uint64_t spans);
  // Nothing more comes; `missing` ranks did not pass on all that they had. The first call counts.
  void Finish(std::vector<int> missing);

  // After Finish: joins the thread, and writes what it has not. The error that ended the writing
  // early, if any. One thread.
  Status Join();

  const std::string& path() const { return path_; }

 private:
  struct OfRank {
    std::unique_ptr<RankTrace> trace;
    ClockReading clock;
    uint64_t dropped = 0;  // guarded by mutex_
    bool missing = false;  // guarded by mutex_
  };

  TraceWriter(TraceFile file, const Topology& topology, TimePoint began, Log log,
              size_t max_waiting_bytes);

  void Run();
  // The thread's, and Join's afterwards: chunks become text.
  void RenderAndWrite(const ChunkOfRank& chunk);
  void Render(const ChunkOfRank& chunk);
  void WriteOut();
  std::string Metadata();
  void Drop(int rank, uint64_t spans);

  TraceFile file_;
  const std::string path_;
  const int64_t began_;
  const int64_t began_unix_us_;
  const Log log_;
  const size_t max_waiting_bytes_;
  std::string text_;  // the thread's, and Join's afterwards
  Status status_;     // likewise
  std::vector<OfRank> ranks_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<ChunkOfRank> waiting_;  // guarded by mutex_ until the thread has been joined
  size_t waiting_bytes_ = 0;         // guarded by mutex_
  bool finishing_ = false;           // guarded by mutex_
  bool warned_ = false;              // guarded by mutex_
  std::thread thread_;
};

}  // namespace rueda::timeline
