// Autotune: finds the bucket bytes and the linger under which a job's steps communicate fastest.
//
// Told what rank 0 submits and completes, and when; answers with the limits that the next frames
// are to carry, so every rank changes at the same frame. Steps become samples: the first step under
// new limits is not counted, then the median of the next ones is the setting's score. When the
// budget is used up the limits stay. Pure, without a clock; one thread at a time.
//
// Steps that move less than half or more than twice the bytes of the usual step are not counted
// (an evaluation between epochs). If steps become larger for good the search begins again; if they
// become smaller for good it ends without a result.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "control/messages.h"
#include "control/step_watch.h"
#include "control/tuning_search.h"

namespace rueda::control {

struct AutotuneOptions {
  int warmup_samples = 3;  // measured and thrown away
  int steps_per_sample = 10;
  SearchOptions search;
};

// One sample, or at the end the result.
struct TuningRow {
  enum class Phase { kWarmup, kExplore, kConfirm, kResult };
  int sample = 0;  // 1, 2, 3, ...; the result repeats the last one's
  Phase phase = Phase::kWarmup;
  Setting setting;
  int steps = 0;
  int64_t step_bytes = 0;  // the usual step's
  double score = 0;        // bytes a second
};
std::string_view NameOf(TuningRow::Phase phase);

class Autotune {
 public:
  // `limits` is where the search starts and what it returns to.
  Autotune(const AutotuneOptions& options, const Limits& limits);

  void Submitted(const Request& request, TimePoint now);
  void Completed(const Request& request, TimePoint now) { watch_.Completed(request, now); }

  // For the next frame.
  const Limits& limits() const { return limits_; }
  // Samples that ended since the last call, in order; the result is the last of all.
  std::vector<TuningRow> TakeRows();

  // Nothing changes any more. Without a result: the job's steps became too small to compare.
  bool finished() const { return finished_; }
  bool has_result() const { return search_.phase() == TuningSearch::Phase::kDone; }
  int samples() const { return samples_; }
  // The start's score where the result was decided, to say what was gained.
  double start_score() const { return search_.start_score(); }

 private:
  void Take(const Step& step, TimePoint now);
  bool IsUsual(const Step& step);
  void BeginAgain(int64_t step_bytes);
  void EndSample();
  void Finish();
  void Report(TuningRow::Phase phase, int steps, double score);

  const AutotuneOptions options_;
  const Setting start_;
  Limits limits_;
  StepWatch watch_;
  TuningSearch search_;
  int warmups_left_;
  int samples_ = 0;
  int64_t step_bytes_ = 0;  // of the usual step
  bool learning_ = true;    // what the usual step is: during the first warm-up
  int larger_in_a_row_ = 0;
  int smaller_in_a_row_ = 0;
  // The next step may have begun under other limits, or is the first, with broadcasts in it.
  bool settling_ = true;
  std::vector<Step> steps_;  // of this sample
  TimePoint sample_began_{};
  bool finished_ = false;
  std::vector<TuningRow> rows_;
};

}  // namespace rueda::control
