#!/usr/bin/env bash
# cpp_tests.sh PRESET: builds and runs the C++ tests with a preset of CMakePresets.json.
set -euo pipefail

preset="$1"
jobs="$(nproc)"
# Tests are ranks as threads, each under a deadline; more at once would be slow, not wrong.
test_jobs="$((jobs < 2 ? jobs : 2))"

if ! echo '#include <catch2/catch.hpp>' | "${CXX:-c++}" -E -x c++ - >/dev/null 2>&1; then
  echo "test-cpp $preset: skipped, no Catch2 2.13 (Debian: catch2)" >&2
  # A test run that CI relies on must not pass without its tests.
  [[ -z "${CI:-}" ]]
  exit
fi
if [[ "$preset" == neon ]] && ! { command -v aarch64-linux-gnu-g++ &&
  { command -v qemu-aarch64 || command -v qemu-aarch64-static; }; } >/dev/null; then
  echo "test-neon: skipped, no cross compiler or no QEMU (Debian: g++-aarch64-linux-gnu, qemu-user)" >&2
  exit
fi

export ASAN_OPTIONS="detect_stack_use_after_return=1:strict_string_checks=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:${TSAN_OPTIONS:-}"

# ThreadSanitizer of g++ 12 fails at random addresses that newer kernels use.
fixed_addresses=()
if [[ "$preset" == tsan ]] && setarch --addr-no-randomize true 2>/dev/null; then
  fixed_addresses=(setarch --addr-no-randomize)
fi

cmake --preset "$preset"
# The build runs the tests, too: to list them.
"${fixed_addresses[@]}" cmake --build --preset "$preset" --parallel "$jobs"
"${fixed_addresses[@]}" ctest --preset "$preset" --parallel "$test_jobs" --timeout 300 --no-tests=error
