#!/usr/bin/env bash
# clang_tidy.sh: runs .clang-tidy's checks over the C++ of the library that needs no PyTorch.
set -euo pipefail

cmake --preset dev >/dev/null
files="import json; print(*sorted({row['file'] for row in json.load(open('build/dev/compile_commands.json'))
                                   if '/csrc/' in row['file']}), sep='\0', end='')"
# -Wno-...: the commands are g++'s.
python -c "$files" |
  xargs -0 -P "$(nproc)" -n 4 clang-tidy -p build/dev --quiet --extra-arg=-Wno-unknown-warning-option
echo "clang-tidy: no complaints"
