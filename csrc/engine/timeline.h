// Timeline: starts, collects and ends the record of what all ranks of an epoch do.
//
// Rank 0's decides, asks the others for the time, and has a thread that writes the file; the others
// record while they are asked to and pass on what they recorded, in asides. Start and Stop are for
// any thread, one call at a time; the rest is the engine thread's.
#pragma once

#include <memory>
#include <string>

#include "core/status.h"
#include "engine/aside.h"
#include "engine/engine_parts.h"
#include "timeline/recorder.h"

namespace rueda::engine {

class Timeline : public AsideListener {
 public:
  AsideTopic topic() const final { return AsideTopic::kTimeline; }

  // Rank 0: records into a new file from here on, on all ranks. Returns once the other ranks have
  // been told, so what is submitted afterwards is recorded everywhere. kInvalidArgument for a path
  // that cannot be written, or while another file is being written; that goes on then.
  // Elsewhere: nothing happens, rank 0 starts for all.
  virtual Status Start(const std::string& path, bool mark_frames) = 0;

  // Rank 0: ends the recording and returns when the file is whole; waits a bounded time for what
  // the others recorded. Without a recording nothing happens. kSystem if the disk did not take it.
  // Elsewhere: nothing happens.
  virtual Status Stop() = 0;

  // The engine thread's last call: the epoch is over, and nobody hears or tells anything more.
  virtual void EpochEnded() = 0;
};

// `recorder` is what the engine's stages record into. The parts outlive the timeline.
std::unique_ptr<Timeline> MakeTimeline(const EngineParts& parts,
                                       std::shared_ptr<timeline::Recorder> recorder);

// The two kinds; rank 0 has the host.
std::unique_ptr<Timeline> MakeTimelineHost(const EngineParts& parts,
                                           std::shared_ptr<timeline::Recorder> recorder);
std::unique_ptr<Timeline> MakeTimelineClient(const EngineParts& parts,
                                             std::shared_ptr<timeline::Recorder> recorder);

}  // namespace rueda::engine
