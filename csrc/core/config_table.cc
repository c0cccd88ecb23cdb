#include "core/config_table.h"

#include <array>

namespace rueda {
namespace {

constexpr std::array<std::string_view, 3> kBackends{"auto", "shm", "gloo"};
constexpr std::array<std::string_view, 6> kLogLevels{"trace",   "debug", "info",
                                                     "warning", "error", "fatal"};
constexpr int64_t kTebibyte = int64_t{1} << 40;
constexpr double kYear = 365.0 * 24 * 3600;

constexpr std::array kOptions{
    OptionRow{
        "RUEDA_BACKEND", ChoiceOption{&Config::backend, kBackends},
        "Road of the data: shm between ranks of one host, gloo where they met over a network; auto "
        "picks."},
    OptionRow{"RUEDA_FUSION_THRESHOLD",
              IntegerOption{&Config::fusion_threshold, 1, kTebibyte, true},
              "Largest bucket that tensors outside the reducer's buckets are fused into. Rank 0's "
              "value holds for all."},
    OptionRow{"RUEDA_REDUCER_BUCKET_BYTES",
              IntegerOption{&Config::reducer_bucket_bytes, 1, kTebibyte, true},
              "Size of the optimizer's gradient buckets. Must be equal on all ranks."},
    OptionRow{"RUEDA_REDUCER_FIRST_BUCKET_BYTES",
              IntegerOption{&Config::reducer_first_bucket_bytes, 1, kTebibyte, true},
              "Size of the first gradient bucket, small so that communication starts early. Must "
              "be equal on all ranks."},
    OptionRow{"RUEDA_REDUCER_LEARN", IntegerOption{&Config::reducer_learn, 0, 1, false},
              "1 learns from the first steps in which order gradients come and which sizes of "
              "buckets end soonest, and lays them out anew once. Must be equal on all ranks."},
    OptionRow{"RUEDA_CACHE_CAPACITY", IntegerOption{&Config::cache_capacity, 0, 65536, false},
              "Named requests that are remembered and afterwards agreed on by one bit; 0 switches "
              "it off."},
    OptionRow{"RUEDA_LINGER_US", IntegerOption{&Config::linger_us, -1, 1000000, false},
              "Microseconds without another asynchronous submission after which those that there "
              "are are offered; 32 times as long at most after the first. Nothing lingers that "
              "somebody waits or polls for. -1 takes 30 where rank 0's host has two processors "
              "for each of its ranks, else 300. Rank 0's value holds for all."},
    OptionRow{"RUEDA_ONE_SHOT_BYTES",
              IntegerOption{&Config::one_shot_bytes, 0, kMostOneShotBytes, true},
              "Largest all-reduce that a caller waits for which ranks of one host agree on and add "
              "up in one meeting; 0 switches meetings off, also those that only agree."},
    OptionRow{"RUEDA_AUTOTUNE", IntegerOption{&Config::autotune, 0, 1, false},
              "1 searches for the best fusion threshold and linger while the job runs. Rank 0's "
              "value holds for all, as do those below."},
    OptionRow{"RUEDA_AUTOTUNE_LOG", TextOption{&Config::autotune_log},
              "CSV file that rank 0 writes what autotune tried into."},
    OptionRow{"RUEDA_AUTOTUNE_WARMUP_SAMPLES",
              IntegerOption{&Config::autotune_warmup_samples, 0, 1000, false},
              "Samples that are thrown away at the start."},
    OptionRow{"RUEDA_AUTOTUNE_STEPS_PER_SAMPLE",
              IntegerOption{&Config::autotune_steps_per_sample, 1, 10000, false},
              "Steps that make one sample."},
    OptionRow{"RUEDA_AUTOTUNE_BAYES_OPT_MAX_SAMPLES",
              IntegerOption{&Config::autotune_bayes_opt_max_samples, 1, 200, false},
              "Samples after which the search ends."},
    OptionRow{"RUEDA_AUTOTUNE_GAUSSIAN_PROCESS_NOISE",
              NumberOption{&Config::autotune_gaussian_process_noise, 0, 1},
              "How noisy samples are taken to be: the error's standard deviation in those of all "
              "samples."},
    OptionRow{"RUEDA_AUTOTUNE_RESULT", TextOption{nullptr},
              "CSV file of an earlier job whose result is taken for the fusion threshold and the "
              "linger, where these are not set."},
    OptionRow{"RUEDA_ARENA_BYTES", IntegerOption{&Config::arena_bytes, 0, 64 * kTebibyte, true},
              "Address space of each rank's shared memory, of which only touched pages are used; 0 "
              "takes the size of the machine's memory. Must be equal on all ranks."},
    OptionRow{"RUEDA_TIMEOUT_SECONDS", SecondsOption{&Config::timeout_seconds, 0.001, kYear},
              "How long a bucket may run before the job is ended. Rank 0's value holds for all. "
              "Ranks that have not offered a tensor yet are not timed: see the stall check."},
    OptionRow{"RUEDA_START_TIMEOUT_SECONDS",
              SecondsOption{&Config::start_timeout_seconds, 0.001, kYear},
              "How long init waits for the other ranks."},
    OptionRow{
        "RUEDA_TIMELINE", TextOption{&Config::timeline},
        "File that rank 0 writes a trace of all ranks into, for Perfetto or chrome://tracing; "
        "DYNAMIC is taken and means none. Rank 0's value counts."},
    OptionRow{"RUEDA_TIMELINE_MARK_CYCLES",
              IntegerOption{&Config::timeline_mark_cycles, 0, 1, false},
              "1 marks each frame in the timeline."},
    OptionRow{"RUEDA_STALL_CHECK_TIME_SECONDS",
              SecondsOption{&Config::stall_check_time_seconds, 0, kYear},
              "After this long rank 0 reports a tensor that some ranks offered and others did not, "
              "and what these do; 0 switches it off."},
    OptionRow{
        "RUEDA_STALL_SHUTDOWN_TIME_SECONDS",
        SecondsOption{&Config::stall_shutdown_time_seconds, 0, kYear},
        "After this long such a tensor ends the job with an error on all ranks; 0 waits for ever."},
    OptionRow{"RUEDA_DYNAMIC_PROCESS_SETS",
              IntegerOption{&Config::dynamic_process_sets, 0, 1, false},
              "1 lets process sets be added and removed after init. Must be equal on all ranks."},
    OptionRow{"RUEDA_LOG_LEVEL", ChoiceOption{&Config::log_level, kLogLevels},
              "Lowest level that is written to standard error."},
    OptionRow{"RUEDA_RENDEZVOUS", TextOption{&Config::rendezvous},
              "host:port where rank 0 meets the others over TCP; needed when ranks are on several "
              "hosts."},
    OptionRow{"RUEDA_SECRET_FILE", TextOption{&Config::secret_file},
              "File of mode 0600 with the job's secret (at least 32 random bytes), the same on "
              "every host."},
    OptionRow{"RUEDA_RANK", TextOption{nullptr}, "This process's rank.", true},
    OptionRow{"RUEDA_SIZE", TextOption{nullptr}, "Number of ranks.", true},
    OptionRow{"RUEDA_LOCAL_RANK", TextOption{nullptr}, "Rank among those on this host.", true},
    OptionRow{"RUEDA_LOCAL_SIZE", TextOption{nullptr}, "Number of ranks on this host.", true},
    OptionRow{"RUEDA_CROSS_RANK", TextOption{nullptr}, "Number of this host.", true},
    OptionRow{"RUEDA_CROSS_SIZE", TextOption{nullptr}, "Number of hosts.", true},
    OptionRow{"RUEDA_JOB_ID", TextOption{nullptr}, "Random name of the job.", true},
    OptionRow{"RUEDA_SECRET_FD", TextOption{nullptr},
              "Inherited descriptor that holds the job's secret.", true},
    OptionRow{"RUEDA_REPORT_FD", TextOption{&Config::report_fd},
              "Inherited descriptor on which a rank reports its traceback or a stall.", true},
};

}  // namespace

std::span<const OptionRow> OptionTable() { return kOptions; }

}  // namespace rueda
