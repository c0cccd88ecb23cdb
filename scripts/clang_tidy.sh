#!/usr/bin/env bash
# clang_tidy.sh: runs .clang-tidy's checks over the C++ of the library that needs no PyTorch.
set -euo pipefail

# A folder of its own: clang does not read the headers that g++ has precompiled.
folder=build/clang-tidy
cmake --preset dev -B "$folder" -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >/dev/null
files="import json; print(*sorted({row['file'] for row in json.load(open('$folder/compile_commands.json'))
                                   if '/csrc/' in row['file']}), sep='\0', end='')"
# -Wno-...: the commands are g++'s.
python -c "$files" |
  xargs -0 -P "$(nproc)" -n 4 clang-tidy -p "$folder" --quiet --extra-arg=-Wno-unknown-warning-option
echo "clang-tidy: no complaints"
