// Config: every option of rueda, read from RUEDA_... variables in one place.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/log.h"
#include "core/status.h"
#include "core/types.h"

namespace rueda {

struct Config {
  std::string backend = "auto";
  int64_t fusion_threshold = int64_t{64} << 20;
  int64_t reducer_bucket_bytes = int64_t{25} << 20;
  int64_t reducer_first_bucket_bytes = int64_t{1} << 20;
  int64_t reducer_learn = 0;
  int64_t cache_capacity = 8192;
  int64_t linger_us = -1;
  int64_t one_shot_bytes = kMostOneShotBytes;
  int64_t arena_bytes = 0;
  double timeout_seconds = 300;
  double start_timeout_seconds = 60;
  int64_t autotune = 0;
  std::string autotune_log;
  int64_t autotune_warmup_samples = 3;
  int64_t autotune_steps_per_sample = 10;
  int64_t autotune_bayes_opt_max_samples = 20;
  double autotune_gaussian_process_noise = 0.8;
  std::string timeline;
  int64_t timeline_mark_cycles = 0;
  double stall_check_time_seconds = 10;
  double stall_shutdown_time_seconds = 0;
  int64_t dynamic_process_sets = 0;
  std::string log_level = "warning";
  std::string rendezvous;
  std::string secret_file;
  std::string report_fd;

  std::set<std::string, std::less<>> given;  // the variables that were set, to whatever

  LogLevel lowest_log_level() const;
  bool IsGiven(std::string_view variable) const { return given.contains(variable); }
};

// One row of docs/configuration.md.
struct OptionInfo {
  std::string name;  // the variable, such as "RUEDA_BACKEND"
  std::string kind;  // "choice", "integer", "bytes", "number", "seconds" or "text"
  std::string default_text;
  std::string range;  // "auto, shm, gloo" or "1 to 1048576"; empty for text
  std::string meaning;
  bool set_by_launcher = false;  // identity of a rank; not for users
};

// All options in the order of the documentation.
std::vector<OptionInfo> ListOptions();

struct ParsedConfig {
  Config config;
  // One line for each unknown RUEDA_ variable, naming the nearest known one.
  std::vector<std::string> warnings;
};

// Reads the RUEDA_ variables among `variables`. kInvalidArgument names the variable, its value and
// what is accepted. Pure.
Result<ParsedConfig> ParseConfig(const std::map<std::string, std::string>& variables);

// This process's environment: the one place in csrc that reads it.
std::map<std::string, std::string> ProcessEnvironment();

}  // namespace rueda
