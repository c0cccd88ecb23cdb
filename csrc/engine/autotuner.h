// Autotuner: rank 0's search for better limits at work: what it watches, and where it is written.
//
// The search itself is control/autotune.h. Rows go into a CSV file one write a sample, from the
// engine thread: about thirty short lines a job into the page cache, which a slow disk does not
// hold up. A file that cannot be written costs a warning, not the job.
#pragma once

#include <memory>
#include <string>

#include "control/autotune.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/log.h"
#include "transport/unique_fd.h"

namespace rueda::engine {

struct AutotunerOptions {
  control::AutotuneOptions search;
  std::string log_file;  // CSV, made anew; empty: none
};

// What RUEDA_AUTOTUNE_... ask for; a limit that the user has set is not searched.
AutotunerOptions AutotunerOptionsOf(const Config& config);

// The engine thread's. The clock outlives it.
class Autotuner {
 public:
  Autotuner(const AutotunerOptions& options, const control::Limits& limits, const Clock* clock,
            Log log);

  // Work of this rank, from its submission to its result or error.
  void Submitted(const control::Request& request);
  void Completed(const control::Request& request) { autotune_.Completed(request, clock_->Now()); }

  // What the next frame is to carry.
  const control::Limits& limits() const { return autotune_.limits(); }
  // Nothing changes any more.
  bool finished() const { return autotune_.finished(); }

  // Nobody asks it any more: says so if the search had no result.
  void Stop();

 private:
  void Report(const control::TuningRow& row);
  void Write(const std::string& line);
  std::string ResultText(const control::TuningRow& row) const;

  const Clock* clock_;
  const Log log_;
  const std::string log_file_;
  control::Autotune autotune_;
  transport::UniqueFd file_;
};

}  // namespace rueda::engine
