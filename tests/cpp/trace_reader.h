// What tests of the timeline share: a folder for its files, and the traces in them.
#pragma once

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "json_value.h"

namespace rueda::testing {

// Removed at the end, with the files that were named.
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/rueda-timeline-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Folder() {
    for (const std::string& file : files_) std::remove(file.c_str());
    ::rmdir(path_.c_str());
  }
  std::string File(const std::string& name) {
    files_.push_back(path_ + "/" + name);
    return files_.back();
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::vector<std::string> files_;
};

inline std::string ContentsOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline JsonValue TraceOf(const std::string& path) {
  auto parsed = JsonParser::Parse(ContentsOf(path));
  REQUIRE(parsed.has_value());
  return *parsed;
}

// Events that are no names of rows.
inline std::vector<JsonValue> EventsOf(const JsonValue& trace) {
  std::vector<JsonValue> events = trace.items;
  std::erase_if(events, [](const JsonValue& event) { return event["ph"].text == "M"; });
  return events;
}

// What the trace says of a rank.
inline JsonValue AboutRank(const JsonValue& trace, int rank) {
  const JsonValue& last = trace.items.back();
  REQUIRE(last["name"].text == "rueda");
  return last["args"]["ranks"][std::to_string(rank)];
}

// The events of one kind, of one rank.
inline std::vector<JsonValue> EventsOf(const JsonValue& trace, const std::string& category,
                                       int rank) {
  std::vector<JsonValue> events = EventsOf(trace);
  std::erase_if(events, [&](const JsonValue& event) {
    return event["cat"].text != category || event["pid"].number != rank + 1;
  });
  return events;
}

}  // namespace rueda::testing
