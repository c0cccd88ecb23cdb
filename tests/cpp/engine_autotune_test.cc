// Whole jobs whose limits are searched while they run: right results, the same buckets on every
// rank, and what rank 0 writes and says.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "engine_fakes.h"
#include "status_text.h"
#include "thread_job.h"
#include "transport/unique_fd.h"

namespace rueda::testing {
namespace {

constexpr int kTensors = 6;
constexpr int64_t kElements = 50'000;

// A file that goes with the test.
class MemoryFile {
 public:
  MemoryFile() : file_(::memfd_create("autotune", MFD_CLOEXEC)) {}

  std::string path() const { return "/proc/self/fd/" + std::to_string(file_.get()); }
  std::vector<std::string> Lines() const {
    std::string text(1 << 16, '\0');
    const ssize_t bytes = ::pread(file_.get(), text.data(), text.size(), 0);
    std::istringstream stream(text.substr(0, static_cast<size_t>(std::max<ssize_t>(bytes, 0))));
    std::vector<std::string> lines;
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
  }

 private:
  transport::UniqueFd file_;
};

std::vector<std::string> Cells(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> cells;
  for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
  return cells;
}

class Lines {
 public:
  Log log() {
    return [this](LogLevel, const std::string& line) {
      const std::lock_guard lock(mutex_);
      lines_.push_back(line);
    };
  }
  std::vector<std::string> taken() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;  // guarded by mutex_
};

Config Tuned(int samples) {
  Config config;
  config.autotune = 1;
  config.autotune_warmup_samples = 1;
  config.autotune_steps_per_sample = 2;
  config.autotune_bayes_opt_max_samples = samples;
  return config;
}

// One job that trains, with what its ranks noted. Rank 0 alone searches.
struct Training {
  explicit Training(int size, const Config& config) {
    for (int rank = 0; rank < size; ++rank) {
      notes.push_back(std::make_shared<NotingBackend::Notes>());
    }
    job = std::make_unique<ThreadJob>(size, config, [&](int rank, engine::EngineParts& parts) {
      parts.backend = std::make_unique<NotingBackend>(std::move(parts.backend),
                                                      notes[static_cast<size_t>(rank)]);
      if (rank == 0) parts.log = log.log();
    });
  }

  // Every rank runs so many steps of named tensors. Returns what is wrong, and the buckets of each
  // rank by step.
  struct Seen {
    std::string wrong;
    std::vector<int> buckets;
    bool operator==(const Seen&) const = default;
  };
  std::vector<Seen> Run(int steps, int64_t elements = kElements, int first_step = 0) {
    return job->ForEachRank([&](int rank) {
      Seen seen;
      for (int step = first_step; step < first_step + steps && seen.wrong.empty(); ++step) {
        const int before = notes[static_cast<size_t>(rank)]->buckets.load();
        seen.wrong = Step(rank, step, elements);
        seen.buckets.push_back(notes[static_cast<size_t>(rank)]->buckets.load() - before);
      }
      return seen;
    });
  }

  std::string Step(int rank, int step, int64_t elements) {
    std::vector<std::vector<int32_t>> values;
    std::vector<Result<engine::TicketPtr>> tickets;
    values.reserve(kTensors);
    for (int tensor = 0; tensor < kTensors; ++tensor) {
      values.emplace_back(static_cast<size_t>(elements), step + tensor + rank);
      auto request = RequestFor("t" + std::to_string(tensor), elements, DType::kInt32);
      request->op = ReduceOp::kSum;
      tickets.push_back(
          SubmitInPlace(job->engine(rank), std::move(request), &values.back(), false));
    }
    const int size = job->size();
    for (int tensor = 0; tensor < kTensors; ++tensor) {
      const auto index = static_cast<size_t>(tensor);
      const Status status = Finish(job->engine(rank), tickets[index]);
      if (!status.ok()) return status.message();
      const int32_t expected = size * (step + tensor) + size * (size - 1) / 2;
      if (values[index] != std::vector<int32_t>(static_cast<size_t>(elements), expected)) {
        return "a wrong sum in step " + std::to_string(step);
      }
    }
    return {};
  }

  std::vector<std::shared_ptr<NotingBackend::Notes>> notes;
  Lines log;
  std::unique_ptr<ThreadJob> job;  // last: it ends first
};

void CheckSame(const std::vector<Training::Seen>& seen) {
  for (const Training::Seen& one : seen) {
    CHECK(one.wrong == "");
    CHECK(one.buckets == seen[0].buckets);
  }
}

}  // namespace

TEST_CASE("a searching job is right in every step, and its ranks run the same buckets",
          "[engine][autotune]") {
  const int size = GENERATE(1, 2, 3, 4);
  const MemoryFile file;
  Config config = Tuned(8);
  config.autotune_log = file.path();
  config.linger_us = 70;  // where the search begins
  Training training(size, config);
  CheckSame(training.Run(40));
  const std::vector<std::string> lines = file.Lines();
  REQUIRE(lines.size() == 1 + 1 + 8 + 1);
  CHECK(lines[0] ==
        "sample,phase,RUEDA_FUSION_THRESHOLD,RUEDA_LINGER_US,steps,step_bytes,step_us,"
        "bytes_per_second");
  std::set<std::string> tried;
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> cells = Cells(lines[i]);
    REQUIRE(cells.size() == 8);
    tried.insert(cells[2] + " " + cells[3]);
    CHECK(cells[0] == std::to_string(std::min<size_t>(i, 9)));
    CHECK(cells[4] == (i + 1 < lines.size() ? "2" : "0"));
    CHECK(cells[5] == std::to_string(kTensors * kElements * 4));
    CHECK(std::stod(cells[7]) > 0);
  }
  CHECK(tried.size() >= 3);
  CHECK(Cells(lines[1])[1] == "warmup");
  CHECK(Cells(lines[10])[1] == "result");
  CHECK(Cells(lines[1])[2] == "67108864");
  CHECK(Cells(lines[1])[3] == "70");
  REQUIRE(training.log.taken().size() == 1);
  const std::string said = training.log.taken().front();
  CHECK_THAT(said, Catch::Contains("RUEDA_FUSION_THRESHOLD=" + Cells(lines[10])[2] + " "));
  CHECK_THAT(said, Catch::Contains("RUEDA_LINGER_US=" + Cells(lines[10])[3] + "."));
}

TEST_CASE("a search goes on while shapes change and ranks join", "[engine][autotune]") {
  Training training(3, Tuned(10));
  for (int round = 0; round < 6; ++round) {
    CheckSame(training.Run(12, round % 2 == 0 ? kElements : kElements + 17, 12 * round));
    const auto joined = training.job->ForEachRank([&](int rank) {
      engine::Engine& engine = training.job->engine(rank);
      std::string wrong;
      // One rank has more data than the others.
      if (rank == round % 3) {
        std::vector<float> more(100, 6);
        auto request = RequestFor("more", 100);
        request->op = ReduceOp::kAverage;
        const Status status = ReduceInPlace(engine, std::move(request), &more);
        if (!status.ok()) wrong = status.message();
        if (more.front() != 2) wrong += "; an average of " + std::to_string(more.front());
      }
      auto join = BarrierRequest("join");
      join->kind = OpKind::kJoin;
      join->transient = true;
      return wrong + Finish(engine, engine.Submit({join, {}, nullptr, true})).message();
    });
    CHECK(joined == std::vector<std::string>(3));
  }
  CHECK(training.log.taken().size() == 1);
}

TEST_CASE("a job that ends before its search says so", "[engine][autotune]") {
  Training training(2, Tuned(20));
  CheckSame(training.Run(8));
  training.job->StopAll();
  REQUIRE(training.log.taken().size() == 1);
  CHECK_THAT(training.log.taken().front(), Catch::Contains("without a result after 2 samples"));
}

TEST_CASE("a log that cannot be written costs a warning", "[engine][autotune]") {
  Config config = Tuned(4);
  config.autotune_log = "/proc/no/such/file.csv";
  Training training(2, config);
  CheckSame(training.Run(30));
  const std::vector<std::string> said = training.log.taken();
  REQUIRE(said.size() == 2);
  CHECK_THAT(said[0], Catch::Contains("/proc/no/such/file.csv"));
  CHECK_THAT(said[1], Catch::Contains("autotune is done after 5 samples"));
}

TEST_CASE("what is set in the environment is not searched by the engine", "[engine][autotune]") {
  const auto searched = [](const std::map<std::string, std::string>& variables) {
    const Config config = ParseConfig(variables).value().config;
    engine::EngineParts parts;
    PrepareAutotune(config, &parts);
    if (!parts.autotune) return std::string("nothing");
    const control::SearchOptions& search = parts.autotune->search.search;
    return std::string(search.tune_bucket_bytes ? "bytes " : "") +
           (search.tune_linger ? "linger" : "");
  };
  CHECK(searched({}) == "nothing");
  CHECK(searched({{"RUEDA_AUTOTUNE", "1"}}) == "bytes linger");
  CHECK(searched({{"RUEDA_AUTOTUNE", "1"}, {"RUEDA_LINGER_US", "30"}}) == "bytes ");
  CHECK(searched({{"RUEDA_AUTOTUNE", "1"}, {"RUEDA_FUSION_THRESHOLD", "1m"}}) == "linger");
  CHECK(searched({{"RUEDA_AUTOTUNE", "1"},
                  {"RUEDA_FUSION_THRESHOLD", "1m"},
                  {"RUEDA_LINGER_US", "0"}}) == "nothing");
}

}  // namespace rueda::testing
