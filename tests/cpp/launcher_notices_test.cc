// Notices for the launcher: one line of JSON that a pipe takes in one piece, or nothing.
#include "engine/launcher_notices.h"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>

#include "transport/unique_fd.h"

namespace rueda::engine {
namespace {

struct Pipe {
  Pipe() {
    int ends[2] = {-1, -1};
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    reader.reset(ends[0]);
    writer.reset(ends[1]);
  }
  std::string Read() const {
    std::string text(1 << 16, '\0');
    const ssize_t bytes = ::read(reader.get(), text.data(), text.size());
    return text.substr(0, bytes < 0 ? 0 : static_cast<size_t>(bytes));
  }
  transport::UniqueFd reader, writer;
};

TEST_CASE("a notice is a line of JSON", "[notices]") {
  CHECK(EncodeNotice(3, "a \"b\" \\", "x\n\ty") ==
        "{\"notice\": \"stall\", \"rank\": 3, \"headline\": \"a \\\"b\\\" \\\\\", "
        "\"text\": \"x\\n\\u0009y\"}\n");
}

TEST_CASE("a notice is cut to what a pipe takes at once, between characters", "[notices]") {
  const std::string euros = [] {
    std::string text;
    for (int i = 0; i < 3000; ++i) text += "\xe2\x82\xac";
    return text;
  }();
  for (const std::string& text : {std::string(100'000, 'x'), std::string(100'000, '\n'),
                                  std::string(100'000, '\x01'), euros}) {
    const std::string line = EncodeNotice(0, text, text);
    CHECK(line.size() <= kMaxNoticeBytes);
    CHECK(line.size() > kMaxNoticeBytes / 2);
    CHECK_THAT(line, Catch::EndsWith("\"}\n"));
  }
  const std::string cut = EncodeNotice(0, "h", euros);
  const size_t text_at = cut.find("text\": \"") + 8;
  CHECK((cut.size() - text_at - 3) % 3 == 0);
}

TEST_CASE("notices go into the pipe", "[notices]") {
  const Pipe pipe;
  const TellLauncher tell = NoticesTo(std::to_string(pipe.writer.get()), 1);
  REQUIRE(tell != nullptr);
  tell("h", "t");
  CHECK(pipe.Read() == EncodeNotice(1, "h", "t"));
}

TEST_CASE("a launcher that does not read holds nobody up", "[notices]") {
  const Pipe pipe;
  const TellLauncher tell = NoticesTo(std::to_string(pipe.writer.get()), 1);
  REQUIRE(tell != nullptr);
  for (int i = 0; i < 100; ++i) tell("h", std::string(4000, 't'));  // more than a pipe holds
  const size_t bytes = pipe.Read().size();
  CHECK(bytes > 0);
  CHECK(bytes % EncodeNotice(1, "h", std::string(4000, 't')).size() == 0);
}

TEST_CASE("a launcher that has gone ends nobody", "[notices]") {
  Pipe pipe;
  const TellLauncher tell = NoticesTo(std::to_string(pipe.writer.get()), 1);
  REQUIRE(tell != nullptr);
  pipe.reader.reset();
  tell("h", "t");  // a write would raise SIGPIPE, which ends a process that does not ignore it
  CHECK(::fcntl(pipe.writer.get(), F_GETFD) >= 0);
}

TEST_CASE("what is no pipe to write gets no notices", "[notices]") {
  const Pipe pipe;
  CHECK(NoticesTo("", 0) == nullptr);
  CHECK(NoticesTo("x", 0) == nullptr);
  CHECK(NoticesTo("-1", 0) == nullptr);
  CHECK(NoticesTo("1048575", 0) == nullptr);
  CHECK(NoticesTo(std::to_string(pipe.writer.get()) + " ", 0) == nullptr);
  CHECK(NoticesTo(std::to_string(pipe.reader.get()), 0) == nullptr);
  const transport::UniqueFd file(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  CHECK(NoticesTo(std::to_string(file.get()), 0) == nullptr);
}

}  // namespace
}  // namespace rueda::engine
