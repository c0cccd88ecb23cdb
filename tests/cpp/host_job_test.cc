// StartHostJob: engines from the descriptors that a bootstrap hands over, and what a fork inherits.
#include "engine/host_job.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "deadline.h"
#include "status_text.h"
#include "thread_job.h"

namespace rueda::engine {
namespace {

using testing::Deadline;
using testing::ReduceInPlace;
using testing::RequestFor;

using Files = std::vector<transport::UniqueFd>;

Files ArenasOf(const std::vector<int64_t>& bytes) {
  Files files;
  for (const int64_t each : bytes) files.push_back(transport::CreateArenaFile(each).value());
  return files;
}

// As the rank of that number receives them: copies of all arenas, nobody to watch.
Result<std::unique_ptr<Engine>> Start(const Files& files, int rank, const Config& config = {}) {
  JobLinks links;
  for (const transport::UniqueFd& file : files) links.arenas.emplace_back(::dup(file.get()));
  links.pidfds.resize(files.size());
  links.streams.resize(files.size());
  links.control.resize(files.size());
  const auto size = static_cast<int>(files.size());
  return StartJob({rank, size, rank, size, 0, 1, {}}, config, std::move(links),
                  [](LogLevel, const std::string&) {});
}

Status ReduceOnBoth(Engine& first, Engine& second) {
  std::vector<float> mine(1'000, 1.0f), theirs(1'000, 2.0f);
  const auto request = RequestFor("x", 1'000);
  const auto other = testing::SubmitInPlace(second, request, &theirs);
  Status status = ReduceInPlace(first, request, &mine);
  if (status.ok()) status = testing::Finish(second, other);
  const bool right = mine == std::vector<float>(1'000, 3.0f) && mine == theirs;
  return right || !status.ok() ? status : Status(StatusCode::kCorrupt, "a wrong sum");
}

int64_t ArenaBytesFor(int64_t configured) {
  Config config;
  config.arena_bytes = configured;
  const transport::UniqueFd file = CreateArena(config, 2).value();
  struct stat info {};
  REQUIRE(::fstat(file.get(), &info) == 0);
  return info.st_size;
}

TEST_CASE("arenas are as large as asked for, or as the machine, and never too small",
          "[host_job]") {
  CHECK(ArenaBytesFor(10'000'001) == 10'000'001 / transport::kPageBytes * transport::kPageBytes);
  CHECK(ArenaBytesFor(1) == transport::SmallestArena(2));
  CHECK(ArenaBytesFor(0) == int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE));
}

TEST_CASE("ranks that were handed each other's arenas are a job", "[host_job]") {
  const Deadline deadline("a job from descriptors");
  const Files files = ArenasOf({1 << 24, 1 << 24});
  const auto first = Start(files, 0).value();
  const auto second = Start(files, 1).value();
  CHECK(first->backend_name() == "shm");
  CHECK(ReduceOnBoth(*first, *second) == Status());
  second->Stop();  // rank 0 acknowledges, so it goes last
  first->Stop();
}

TEST_CASE("a job of one rank needs nobody", "[host_job]") {
  const Deadline deadline("a job of one");
  const auto alone = Start(ArenasOf({1 << 24}), 0).value();
  std::vector<float> values(10, 2.0f);
  CHECK(ReduceInPlace(*alone, RequestFor("x", 10), &values) == Status());
  CHECK(values[9] == 2.0f);
}

TEST_CASE("arenas of different sizes are refused, and the option is named", "[host_job]") {
  const Status refused = Start(ArenasOf({1 << 24, 1 << 23}), 1).status();
  CHECK(refused.code() == StatusCode::kInvalidArgument);
  CHECK_THAT(refused.message(), Catch::Contains("RUEDA_ARENA_BYTES") && Catch::Contains("rank 1") &&
                                    Catch::Contains("8 MiB") && Catch::Contains("16 MiB"));
}

TEST_CASE("a backend that the ranks cannot have is refused in words", "[host_job]") {
  const Deadline deadline("no gloo");
  Config config;
  config.backend = "gloo";
  const auto engine = Start(ArenasOf({1 << 24, 1 << 24}), 0, config);  // there are no streams
  REQUIRE_FALSE(engine.ok());
  CHECK_FALSE(engine.status().message().empty());
}

// Lines of this process's map that show memory of arenas; `how`: 's' for shared, 'p' for private.
int ArenaMappings(char how) {
  std::ifstream maps("/proc/self/maps");
  int mappings = 0;
  for (std::string line; std::getline(maps, line);) {
    const size_t flags = line.find(' ') + 1;
    mappings += line.find("rueda-arena") != std::string::npos && line[flags + 3] == how;
  }
  return mappings;
}

// What a forked child finds; its exit code names the first thing that is wrong.
int CheckChild(Engine& first, Engine& second, transport::ArenaBuffer& buffer) {
  first.AbandonInForkedChild();
  second.AbandonInForkedChild();
  if (ArenaMappings('s') != 0) return 1;
  std::vector<float> values(4);
  if (ReduceInPlace(first, RequestFor("y", 4), &values).code() != StatusCode::kForked) return 2;
  if (buffer.data()[0] != 5 || buffer.data()[99'999] != 5) return 3;
  std::fill_n(buffer.data(), 100'000, uint8_t{9});
  return buffer.data()[0] == 9 ? 0 : 4;
}

TEST_CASE("a forked child is no rank, and touches nothing of the job", "[host_job]") {
  const Deadline deadline("a forked child");
  const Files files = ArenasOf({1 << 24, 1 << 24});
  const auto first = Start(files, 0).value();
  const auto second = Start(files, 1).value();
  const auto buffer = first->Allocate(100'000).value();
  std::fill_n(buffer->data(), 100'000, uint8_t{5});
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(CheckChild(*first, *second, *buffer));
  int how = -1;
  REQUIRE(::waitpid(child, &how, 0) == child);
  CHECK(how == 0);
  CHECK(buffer->data()[0] == 5);
  CHECK(ReduceOnBoth(*first, *second) == Status());
  second->Stop();
  first->Stop();
}

}  // namespace
}  // namespace rueda::engine
