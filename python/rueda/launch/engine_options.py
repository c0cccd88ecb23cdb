"""The options that set the engine's variables: tuning, timeline, stall check, log.

Each one is a variable of docs/configuration.md under horovodrun's name. Ranges are the engine's.
"""

from __future__ import annotations

from rueda.launch import values
from rueda.launch.option import Group, Option

TUNING = Group(
    "tuning",
    (
        Option(
            "fusion_threshold_mb",
            ("--fusion-threshold-mb",),
            "MB",
            "Largest bucket that small tensors are fused into; 0: none are fused.",
            read=values.mebibytes,
            variable="FUSION_THRESHOLD",
            key="params.fusion_threshold_mb",
        ),
        Option(
            "cache_capacity",
            ("--cache-capacity",),
            "N",
            "Number of named tensors that are agreed on by one bit; 0: none.",
            read=values.whole,
            variable="CACHE_CAPACITY",
            key="params.cache_capacity",
        ),
        Option(
            "reducer_learn",
            ("--reducer-learn",),
            "",
            "Learn the layout of gradient buckets from the first steps.",
            negative=("--no-reducer-learn",),
            variable="REDUCER_LEARN",
            key="params.reducer_learn",
        ),
        Option(
            "start_timeout",
            ("--start-timeout",),
            "S",
            "How long init waits for the other ranks.",
            read=values.decimal,
            variable="START_TIMEOUT_SECONDS",
            key="start_timeout",
        ),
        Option(
            "gloo_timeout_seconds",
            ("--gloo-timeout-seconds",),
            "S",
            "How long one collective may run, on any road.",
            read=values.decimal,
            variable="TIMEOUT_SECONDS",
            key="library_options.gloo_timeout_seconds",
        ),
        Option(
            "autotune_result",
            ("--autotune-result",),
            "FILE",
            "Take what an earlier job's --autotune-log-file found, without a search.",
            variable="AUTOTUNE_RESULT",
            key="autotune.result",
        ),
    ),
)

AUTOTUNE = Group(
    "autotune",
    (
        Option(
            "autotune",
            ("--autotune",),
            "",
            "Search for the best settings while the job runs.",
            negative=("--no-autotune",),
            variable="AUTOTUNE",
            key="autotune.enabled",
        ),
        Option(
            "autotune_log_file",
            ("--autotune-log-file",),
            "FILE",
            "Write what was tried, as CSV.",
            variable="AUTOTUNE_LOG",
            key="autotune.log_file",
        ),
        Option(
            "autotune_warmup_samples",
            ("--autotune-warmup-samples",),
            "N",
            "Samples that are thrown away at the start.",
            read=values.whole,
            variable="AUTOTUNE_WARMUP_SAMPLES",
            key="autotune.warmup_samples",
        ),
        Option(
            "autotune_steps_per_sample",
            ("--autotune-steps-per-sample",),
            "N",
            "Steps that make one sample.",
            read=values.whole,
            variable="AUTOTUNE_STEPS_PER_SAMPLE",
            key="autotune.steps_per_sample",
        ),
        Option(
            "autotune_bayes_opt_max_samples",
            ("--autotune-bayes-opt-max-samples",),
            "N",
            "Samples after which the search ends.",
            read=values.whole,
            variable="AUTOTUNE_BAYES_OPT_MAX_SAMPLES",
            key="autotune.bayes_opt_max_samples",
        ),
        Option(
            "autotune_gaussian_process_noise",
            ("--autotune-gaussian-process-noise",),
            "X",
            "How noisy samples are taken to be, 0 to 1.",
            read=values.fraction,
            variable="AUTOTUNE_GAUSSIAN_PROCESS_NOISE",
            key="autotune.gaussian_process_noise",
        ),
    ),
)

OBSERVING = Group(
    "timeline, stall check, log",
    (
        Option(
            "timeline_filename",
            ("--timeline-filename",),
            "FILE",
            "Record what the engine does, for Perfetto or chrome://tracing.",
            variable="TIMELINE",
            key="timeline.filename",
        ),
        Option(
            "timeline_mark_cycles",
            ("--timeline-mark-cycles",),
            "",
            "Mark the engine's turns in the timeline.",
            negative=("--no-timeline-mark-cycles",),
            variable="TIMELINE_MARK_CYCLES",
            key="timeline.mark_cycles",
        ),
        Option(
            "stall_check",
            ("--stall-check",),
            "",
            "Warn of tensors that some ranks withhold (the default).",
            negative=("--no-stall-check",),
            key="stall_check.enabled",
        ),
        Option(
            "stall_warning",
            ("--stall-check-warning-time-seconds",),
            "S",
            "After how long.",
            read=values.decimal,
            variable="STALL_CHECK_TIME_SECONDS",
            key="stall_check.warning_time_seconds",
        ),
        Option(
            "stall_shutdown",
            ("--stall-check-shutdown-time-seconds",),
            "S",
            "After how long such a tensor ends the job; 0: never.",
            read=values.decimal,
            variable="STALL_SHUTDOWN_TIME_SECONDS",
            key="stall_check.shutdown_time_seconds",
        ),
        Option(
            "log_level",
            ("--log-level",),
            "LEVEL",
            "Lowest level that the engine logs: trace, debug, info, warning, error or fatal.",
            read=values.lower_case,
            variable="LOG_LEVEL",
            key="logging.level",
        ),
    ),
)
