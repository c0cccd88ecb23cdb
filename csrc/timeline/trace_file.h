// TraceFile: a JSON file that grows and is whole after every write.
//
// Its end, which closes the array of events and holds the metadata, is written behind each batch of
// events and overwritten by the next, so the file can be read between any two writes, also when the
// process that wrote it was killed. One thread at a time; blocks on the disk.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"
#include "transport/unique_fd.h"

namespace rueda::timeline {

class TraceFile {
 public:
  // Creates the file, or empties the one that is there. kInvalidArgument, in words, for a path that
  // cannot be written or is no ordinary file; what is there stays as it is then.
  static Result<TraceFile> Open(const std::string& path);

  // Puts `events` in place of the last end, and `end` behind them. The first failure sticks: the
  // file stays as it was whole last, if the disk lets it.
  Status Write(std::string_view events, std::string_view end);

  const std::string& path() const { return path_; }

 private:
  TraceFile(transport::UniqueFd file, std::string path)
      : file_(std::move(file)), path_(std::move(path)) {}
  Status Put(std::string_view text, int64_t at);

  transport::UniqueFd file_;
  std::string path_;
  int64_t events_end_ = 0;
  std::string last_end_;
  Status failure_;
};

}  // namespace rueda::timeline
