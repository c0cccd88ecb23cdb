// TraceText: the events of a Chrome trace as JSON text.
//
// The format is Google's "Trace Event Format"; chrome://tracing and Perfetto open it. Only complete
// events ("X"), instants ("i") and metadata ("M") are used, so no event can be left open. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rueda::timeline {

// Appends `text` as a JSON string with its quotes. Bytes that are no UTF-8 become U+FFFD.
void AppendJsonString(std::string_view text, std::string* out);

// Nanoseconds as microseconds with three decimals, which a double holds exactly for a century.
void AppendMicroseconds(int64_t nanoseconds, std::string* out);

// One event, written field by field; the destructor closes it. Every event but a file's first
// begins with a comma.
class EventText {
 public:
  EventText(char phase, int rank, uint64_t track, std::string* out);
  ~EventText();
  EventText(const EventText&) = delete;
  EventText& operator=(const EventText&) = delete;

  // A span or an instant. Times are nanoseconds since the trace's beginning; earlier ones are moved
  // there, and an end before its begin to it.
  EventText& Span(int64_t begun, int64_t done);
  EventText& At(int64_t time);
  EventText& Category(std::string_view category);  // plain ASCII
  EventText& Name(std::string_view name);
  // "allreduce grads"
  EventText& Name(std::string_view kind, std::string_view name);

  // Arguments, after everything else. Keys are plain ASCII.
  EventText& Argument(std::string_view key, int64_t value);
  EventText& Argument(std::string_view key, uint64_t value);
  EventText& Argument(std::string_view key, std::string_view value);
  EventText& Flag(std::string_view key, bool value);
  EventText& Microseconds(std::string_view key, int64_t nanoseconds);

 private:
  void Key(std::string_view key);

  std::string* out_;
  bool has_arguments_ = false;
};

}  // namespace rueda::timeline
