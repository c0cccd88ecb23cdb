#include "timeline/trace_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace rueda::timeline {
namespace {

Status Refused(const std::string& path, const std::string& why) {
  return {StatusCode::kInvalidArgument, "the timeline cannot be written to '" + path + "': " + why +
                                            ". Name a file in a folder that rank 0 can write to."};
}

}  // namespace

Result<TraceFile> TraceFile::Open(const std::string& path) {
  if (path.empty()) return Refused(path, "the path is empty");
  if (const size_t zero = path.find('\0'); zero != std::string::npos) {
    return Refused(path.substr(0, zero), "a zero byte follows in the path");
  }
  // Not blocking, so that a pipe without a reader is refused like every other one.
  transport::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666));
  if (!file.valid()) return Refused(path, std::strerror(errno));
  struct stat found {};
  if (::fstat(file.get(), &found) != 0) return Refused(path, std::strerror(errno));
  if (!S_ISREG(found.st_mode)) return Refused(path, "it is no ordinary file");
  if (::ftruncate(file.get(), 0) != 0) return Refused(path, std::strerror(errno));
  return TraceFile(std::move(file), path);
}

Status TraceFile::Put(std::string_view text, int64_t at) {
  while (!text.empty()) {
    const ssize_t written = ::pwrite(file_.get(), text.data(), text.size(), at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return SystemError("writing the timeline to '" + path_ + "'", errno);
    text.remove_prefix(static_cast<size_t>(written));
    at += written;
  }
  return Status::Ok();
}

Status TraceFile::Write(std::string_view events, std::string_view end) {
  RUEDA_RETURN_IF_ERROR(failure_);
  const int64_t old_size = events_end_ + static_cast<int64_t>(last_end_.size());
  const int64_t new_end = events_end_ + static_cast<int64_t>(events.size());
  const int64_t new_size = new_end + static_cast<int64_t>(end.size());
  std::string text(events);
  text += end;
  failure_ = Put(text, events_end_);
  if (!failure_.ok()) {
    // The room of the last end is the file's already, so a full disk takes it back.
    if (Put(last_end_, events_end_).ok()) (void)!::ftruncate(file_.get(), old_size);
    return failure_;
  }
  if (new_size < old_size) (void)!::ftruncate(file_.get(), new_size);
  events_end_ = new_end;
  last_end_ = end;
  return Status::Ok();
}

}  // namespace rueda::timeline
