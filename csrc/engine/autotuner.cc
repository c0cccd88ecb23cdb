#include "engine/autotuner.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/text.h"

namespace rueda::engine {
namespace {

using control::Setting;
using control::TuningRow;

constexpr char kBucketVariable[] = "RUEDA_FUSION_THRESHOLD";
constexpr char kLingerVariable[] = "RUEDA_LINGER_US";

// docs/configuration.md, "Autotune", says what the columns are.
std::string Header() {
  return std::string("sample,phase,") + kBucketVariable + "," + kLingerVariable +
         ",steps,step_bytes,step_us,bytes_per_second\n";
}

int64_t Microseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

double StepSeconds(const TuningRow& row, double score) {
  return score > 0 ? static_cast<double>(row.step_bytes) / score : 0;
}

std::string Fixed(double value, int digits) {
  char text[64];
  const int length = std::snprintf(text, sizeof text, "%.*f", digits, value);
  return {text, static_cast<size_t>(length)};
}

std::string Line(const TuningRow& row) {
  std::string line = std::to_string(row.sample) + "," + std::string(NameOf(row.phase)) + ",";
  line += std::to_string(row.setting.bucket_bytes) + ",";
  line += std::to_string(Microseconds(row.setting.linger)) + ",";
  line += std::to_string(row.steps) + "," + std::to_string(row.step_bytes) + ",";
  return line + Fixed(1e6 * StepSeconds(row, row.score), 1) + "," + Fixed(row.score, 0) + "\n";
}

std::string Variables(const Setting& setting) {
  return std::string(kBucketVariable) + "=" + std::to_string(setting.bucket_bytes) + " " +
         kLingerVariable + "=" + std::to_string(Microseconds(setting.linger));
}

}  // namespace

AutotunerOptions AutotunerOptionsOf(const Config& config) {
  AutotunerOptions options;
  options.log_file = config.autotune_log;
  options.search.warmup_samples = static_cast<int>(config.autotune_warmup_samples);
  options.search.steps_per_sample = static_cast<int>(config.autotune_steps_per_sample);
  options.search.search.samples = static_cast<int>(config.autotune_bayes_opt_max_samples);
  options.search.search.noise = config.autotune_gaussian_process_noise;
  options.search.search.tune_bucket_bytes = !config.IsGiven(kBucketVariable);
  options.search.search.tune_linger = !config.IsGiven(kLingerVariable);
  return options;
}

Autotuner::Autotuner(const AutotunerOptions& options, const control::Limits& limits,
                     const Clock* clock, Log log)
    : clock_(clock),
      log_(std::move(log)),
      log_file_(options.log_file),
      autotune_(options.search, limits) {
  if (log_file_.empty()) return;
  file_.reset(::open(log_file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666));
  if (!file_.valid()) {
    log_(LogLevel::kWarning, "RUEDA_AUTOTUNE_LOG='" + log_file_ + "' cannot be written: " +
                                 std::strerror(errno) + ". Autotune goes on without it.");
  }
  Write(Header());
}

void Autotuner::Submitted(const control::Request& request) {
  autotune_.Submitted(request, clock_->Now());
  for (const TuningRow& row : autotune_.TakeRows()) Report(row);
}

void Autotuner::Report(const TuningRow& row) {
  Write(Line(row));
  if (row.phase == TuningRow::Phase::kResult) log_(LogLevel::kWarning, ResultText(row));
}

// A line is written whole or, with the disk full, the file is given up.
void Autotuner::Write(const std::string& line) {
  if (!file_.valid()) return;
  const ssize_t written = ::write(file_.get(), line.data(), line.size());
  if (written == static_cast<ssize_t>(line.size())) return;
  log_(LogLevel::kWarning, "RUEDA_AUTOTUNE_LOG='" + log_file_ + "' is incomplete: " +
                               (written < 0 ? std::strerror(errno) : "the disk is full"));
  file_.reset();
}

std::string Autotuner::ResultText(const TuningRow& row) const {
  const std::string start = "autotune is done after " + std::to_string(row.sample) + " samples: ";
  const double before = autotune_.start_score();
  if (row.score == before) {
    return start + "nothing was clearly better than the start, " + Variables(row.setting) + ".";
  }
  return start + "a step of " + FormatBytes(row.step_bytes) + " communicates in " +
         Fixed(1e3 * StepSeconds(row, row.score), 2) + " ms instead of " +
         Fixed(1e3 * StepSeconds(row, before), 2) + " ms. To keep it, set " +
         Variables(row.setting) + ".";
}

void Autotuner::Stop() {
  if (autotune_.has_result()) return;
  log_(LogLevel::kWarning,
       "autotune ends without a result after " + std::to_string(autotune_.samples()) +
           " samples: the job ended, or its steps changed, before the search was over. A step ends "
           "where a name comes back, so calls need names; RUEDA_AUTOTUNE_STEPS_PER_SAMPLE and "
           "RUEDA_AUTOTUNE_BAYES_OPT_MAX_SAMPLES make the search shorter.");
}

}  // namespace rueda::engine
