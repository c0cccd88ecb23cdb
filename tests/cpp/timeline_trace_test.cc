// The trace: what is written parses, says what was recorded, and is whole whenever it is looked at.
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include "status_text.h"
#include "timeline/rank_trace.h"
#include "timeline/trace_file.h"
#include "timeline/trace_text.h"
#include "timeline/trace_writer.h"
#include "trace_reader.h"

namespace rueda::timeline {
namespace {

using testing::AboutRank;
using testing::ContentsOf;
using testing::EventsOf;
using testing::Folder;
using testing::JsonParser;
using testing::JsonValue;
using testing::TraceOf;

std::string Quoted(std::string_view text) {
  std::string out;
  AppendJsonString(text, &out);
  return out;
}

std::string Microseconds(int64_t nanoseconds) {
  std::string out;
  AppendMicroseconds(nanoseconds, &out);
  return out;
}

TEST_CASE("names are escaped so that any JSON reader takes them", "[timeline][json]") {
  CHECK(Quoted("layer.0/weight") == "\"layer.0/weight\"");
  CHECK(Quoted("a\"b\\c\n\x01") == "\"a\\\"b\\\\c\\u000a\\u0001\"");
  CHECK(Quoted("\u00fc \u20ac \U0001F600") == "\"\u00fc \u20ac \U0001F600\"");
  // Overlong, a surrogate, too large, cut off, a lone continuation.
  CHECK(Quoted("\xC0\xAF") == "\"\\ufffd\\ufffd\"");
  CHECK(Quoted("\xED\xA0\x80") == "\"\\ufffd\\ufffd\\ufffd\"");
  CHECK(Quoted("\xF5\x80\x80\x80") == "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
  CHECK(Quoted("x\xE2\x82") == "\"x\\ufffd\\ufffd\"");
  CHECK(Quoted("\x80y") == "\"\\ufffdy\"");
}

TEST_CASE("nanoseconds are written as microseconds without loss", "[timeline][json]") {
  CHECK(Microseconds(0) == "0");
  CHECK(Microseconds(5) == "0.005");
  CHECK(Microseconds(1050) == "1.050");
  CHECK(Microseconds(123'456'789'012'345) == "123456789012.345");
  CHECK(Microseconds(-1500) == "-1.500");
}

std::vector<JsonValue> Drawn(const std::string& text) {
  auto parsed = JsonParser::Parse("[" + text.substr(1) + "]");
  REQUIRE(parsed.has_value());
  return parsed->items;
}

const JsonValue& Only(const std::vector<JsonValue>& events, const std::string& category) {
  const auto is = [&](const JsonValue& event) {
    return event.has("cat") && event["cat"].text == category;
  };
  REQUIRE(std::count_if(events.begin(), events.end(), is) == 1);
  return *std::find_if(events.begin(), events.end(), is);
}

RequestSpan Request(std::string_view name, int64_t at) {
  RequestSpan span;
  span.name = name;
  span.tensors = 1;
  span.bytes = 4096;
  span.frame = 3;
  span.bucket = 2;
  span.submitted = at;
  span.offered = at + 1000;
  span.agreed = at + 3000;
  span.begun = at + 4000;
  span.done = at + 9000;
  return span;
}

TEST_CASE("a request is a span with its phases inside", "[timeline][trace]") {
  std::string text;
  RankTrace trace(2, "rank 2", &text);
  trace.set_offset(-1'000'000);
  RequestSpan span = Request("fc.weight", 1'500'000);
  span.last_rank = 1;
  span.spread = 2500;
  trace.Visit(span);
  const std::vector<JsonValue> events = Drawn(text);
  CHECK(events[0]["args"]["name"].text == "rank 2");
  const JsonValue& request = Only(events, "request");
  CHECK(request["name"].text == "allreduce fc.weight");
  CHECK(request["ts"].number == 500);
  CHECK(request["dur"].number == 9);
  CHECK(request["args"]["bytes"].number == 4096);
  CHECK(request["args"]["frame"].number == 3);
  CHECK(request["args"]["bucket"].number == 2);
  const JsonValue& negotiation = Only(events, "negotiation");
  CHECK(negotiation["dur"].number == 3);
  CHECK(negotiation["args"]["last_rank"].number == 1);
  CHECK(negotiation["args"]["last_after_first_us"].number == 2.5);
  CHECK(negotiation["args"]["offered_after_us"].number == 1);
  CHECK(Only(events, "queue")["dur"].number == 1);
  CHECK(Only(events, "run")["ts"].number == 504);
  CHECK(Only(events, "run")["dur"].number == 5);
  for (const char* phase : {"negotiation", "queue", "run"}) {
    CHECK(Only(events, phase)["tid"].number == request["tid"].number);
  }
}

TEST_CASE("a request that failed, or began before the recording, is drawn as far as it is known",
          "[timeline][trace]") {
  std::string text;
  RankTrace trace(0, "rank 0", &text);
  RequestSpan failed;
  failed.name = "x";
  failed.error = static_cast<int32_t>(StatusCode::kMismatch);
  failed.submitted = 1000;
  failed.offered = 2000;
  failed.done = 5000;
  SECTION("failed") {
    trace.Visit(failed);
    const std::vector<JsonValue> events = Drawn(text);
    CHECK(Only(events, "request")["args"]["error"].text == "R201");
    CHECK(Only(events, "negotiation")["dur"].number == 4);
    CHECK(events.size() == 2 + 2 + 2);
  }
  SECTION("half seen") {
    RequestSpan span = Request("y", 1000);
    span.submitted = span.offered = 0;
    trace.Visit(span);
    const std::vector<JsonValue> events = Drawn(text);
    CHECK(Only(events, "request")["args"]["began_before_recording"].boolean);
    CHECK(Only(events, "request")["ts"].number == 4);
    CHECK(events.size() == 2 + 2 + 3);
  }
  SECTION("seen from its offer on") {
    RequestSpan span = Request("y", 1000);
    span.submitted = 0;
    trace.Visit(span);
    const std::vector<JsonValue> events = Drawn(text);
    CHECK(Only(events, "request")["ts"].number == 2);
    CHECK(Only(events, "negotiation")["ts"].number == 2);
    CHECK(Only(events, "negotiation")["dur"].number == 2);
    CHECK_FALSE(Only(events, "negotiation").has("args"));
  }
  SECTION("only its end") {
    RequestSpan span;
    span.done = 5000;
    trace.Visit(span);
    CHECK(Only(Drawn(text), "request")["dur"].number == 0);
  }
}

TEST_CASE("each kind of span has rows of its own, and rows have names", "[timeline][trace]") {
  std::string text;
  RankTrace trace(0, "rank 0", &text);
  for (int i = 0; i < 2; ++i) {
    trace.Visit(FrameMark{1, 2, 10});
    trace.Visit(BucketSpan{OpKind::kAllreduce, DType::kFloat32, true, false, 0, 0, 5, 20, 1, 1, 10,
                           20, "a"});
    trace.Visit(BucketSpan{OpKind::kAllreduce, DType::kFloat32, false, false, 0, 3, 5, 20, 1, 1, 10,
                           20, "b"});
    trace.Visit(CopySpan{false, 20, 10, 12});
    trace.Visit(WaitSpan{42, 10, 20, "a"});
  }
  const std::vector<JsonValue> events = Drawn(text);
  std::vector<std::string> rows;
  for (const JsonValue& event : events) {
    if (event["name"].text == "thread_name") rows.push_back(event["args"]["name"].text);
  }
  CHECK(rows == std::vector<std::string>{"frames", "collectives", "collectives of process set 3",
                                         "copies", "waits of thread 42"});
}

TEST_CASE("paths that cannot be written are refused in words", "[timeline][file]") {
  Folder folder;
  const auto refusal = [](const std::string& path) { return TraceFile::Open(path).status(); };
  CHECK(refusal("").code() == StatusCode::kInvalidArgument);
  CHECK(refusal(folder.path() + "/no/such/folder.json").message().find("No such file") !=
        std::string::npos);
  CHECK(refusal(folder.path()).code() == StatusCode::kInvalidArgument);
  CHECK(refusal(std::string("/tmp/a\0b", 8)).code() == StatusCode::kInvalidArgument);
  const std::string pipe = folder.File("pipe");
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(refusal(pipe).code() == StatusCode::kInvalidArgument);
  CHECK(refusal("/dev/null").message().find("no ordinary file") != std::string::npos);
}

TEST_CASE("a file is whole after every write, also when its end shrinks", "[timeline][file]") {
  Folder folder;
  const std::string path = folder.File("trace");
  std::ofstream(path) << "what was there before, longer than what comes";
  auto file = TraceFile::Open(path);
  REQUIRE(file.ok());
  CHECK(ContentsOf(path).empty());
  REQUIRE(file->Write("[1", " ] a long end").ok());
  CHECK(ContentsOf(path) == "[1 ] a long end");
  REQUIRE(file->Write(",2", "]").ok());
  CHECK(ContentsOf(path) == "[1,2]");
  REQUIRE(file->Write("", " ]").ok());
  CHECK(ContentsOf(path) == "[1,2 ]");
}

std::vector<uint8_t> ChunkWith(const RequestSpan& span, size_t times = 1) {
  ChunkWriter chunk;
  for (size_t i = 0; i < times; ++i) REQUIRE(chunk.Append(span));
  return chunk.Take();
}

class WriterTest {
 protected:
  std::unique_ptr<TraceWriter> Open(size_t max_waiting = TraceWriter::kMaxWaitingBytes) {
    constexpr int size = 2;
    Topology topology;
    topology.size = size;
    topology.peers.assign(static_cast<size_t>(size), {"node\"7", 4711});
    auto writer = TraceWriter::Open(
        path_, topology, TimePoint(Duration(1'000'000)),
        [this](LogLevel, const std::string& line) { lines_.push_back(line); }, max_waiting);
    REQUIRE(writer.ok());
    return std::move(*writer);
  }

  Folder folder_;
  const std::string path_ = folder_.File("trace.json");
  std::vector<std::string> lines_;  // by the writer's thread alone, until it is joined
};

TEST_CASE_METHOD(WriterTest, "a trace without spans is a trace", "[timeline][writer]") {
  auto writer = Open();
  const JsonValue at_once = TraceOf(path_);
  CHECK(at_once.items.size() == 5);
  CHECK(at_once.items[0]["args"]["name"].text == "rank 0 (pid 4711 on node\"7)");
  writer->Finish({1});
  REQUIRE(writer->Join().ok());
  const JsonValue trace = TraceOf(path_);
  CHECK(AboutRank(trace, 0)["complete"].boolean);
  CHECK_FALSE(AboutRank(trace, 1)["complete"].boolean);
  CHECK(lines_.empty());
}

TEST_CASE_METHOD(WriterTest, "spans of all ranks are drawn with their clocks put right",
                 "[timeline][writer]") {
  auto writer = Open();
  writer->Take({{0, {}, ChunkWith(Request("a", 2'000'000))},
                {1, {-500'000'000, -500'000'123, 2000}, ChunkWith(Request("a", 502'000'000))}});
  writer->Finish({});
  REQUIRE(writer->Join().ok());
  const JsonValue trace = TraceOf(path_);
  const std::vector<JsonValue> events = EventsOf(trace);
  REQUIRE(events.size() == 8);
  CHECK(events[0]["ts"].number == 1000);
  CHECK(events[4]["ts"].number == 1000);
  CHECK(events[0]["pid"].number != events[4]["pid"].number);
  CHECK(AboutRank(trace, 1)["clock_offset_ns"].number == -500'000'000);
  CHECK(AboutRank(trace, 1)["clock_measured_ns"].number == -500'000'123);
  CHECK(AboutRank(trace, 1)["clock_error_ns"].number == 2000);
}

TEST_CASE_METHOD(WriterTest, "what comes faster than it can be written is counted, and said once",
                 "[timeline][writer]") {
  constexpr size_t kChunks = 60;
  const std::vector<uint8_t> bytes = ChunkWith(Request("some.name", 2'000'000), 70);
  auto writer = Open(40 * bytes.size());
  std::vector<ChunkOfRank> chunks;
  for (size_t i = 0; i < kChunks; ++i) chunks.push_back({1, {}, bytes});
  writer->Take(std::move(chunks));
  writer->NoteDropped(0, 5);
  writer->Finish({});
  REQUIRE(writer->Join().ok());
  const JsonValue trace = TraceOf(path_);
  const auto dropped = static_cast<size_t>(AboutRank(trace, 1)["dropped_spans"].number);
  CHECK(dropped == (kChunks - 40) * 70);
  CHECK(EventsOf(trace).size() == 40 * 70 * 4);
  CHECK(AboutRank(trace, 0)["dropped_spans"].number == 5);
  REQUIRE(lines_.size() == 1);
  CHECK(lines_[0].find(path_) != std::string::npos);
}

TEST_CASE_METHOD(WriterTest, "a damaged chunk costs its own spans alone", "[timeline][writer]") {
  auto writer = Open();
  std::vector<uint8_t> damaged = ChunkWith(Request("a", 2'000'000), 3);
  damaged[4] = 99;
  writer->Take({{0, {}, damaged}, {1, {}, ChunkWith(Request("b", 2'000'000))}});
  writer->Finish({});
  REQUIRE(writer->Join().ok());
  const JsonValue trace = TraceOf(path_);
  CHECK(EventsOf(trace).size() == 4);
  CHECK(AboutRank(trace, 0)["dropped_spans"].number == 3);
}

TEST_CASE_METHOD(WriterTest, "a full disk ends the timeline with a warning and a file that parses",
                 "[timeline][writer]") {
  // The limit of this process's files stands for the disk's.
  struct Limit {
    explicit Limit(rlim_t bytes) {
      ::getrlimit(RLIMIT_FSIZE, &old);
      handler = ::signal(SIGXFSZ, SIG_IGN);
      rlimit now{bytes, old.rlim_max};
      ::setrlimit(RLIMIT_FSIZE, &now);
    }
    ~Limit() {
      ::setrlimit(RLIMIT_FSIZE, &old);
      ::signal(SIGXFSZ, handler);
    }
    rlimit old{};
    void (*handler)(int) = nullptr;
  };
  auto writer = Open();
  {
    const Limit limit(100'000);
    std::vector<ChunkOfRank> chunks(50, {1, {}, ChunkWith(Request("name", 2'000'000), 70)});
    writer->Take(std::move(chunks));
    writer->Finish({});
    CHECK(writer->Join().code() == StatusCode::kSystem);
  }
  (void)TraceOf(path_);
  CHECK(lines_.size() == 1);
}

}  // namespace
}  // namespace rueda::timeline
