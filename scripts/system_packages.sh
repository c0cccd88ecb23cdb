#!/usr/bin/env bash
# system_packages.sh VENV: installs the Debian packages that the optional parts and the tests use,
# where this user may. Says in one line what is missing otherwise.
set -euo pipefail

stamp="$1/rueda.system-packages"
declare -A uses=(
  [g++]="the build"
  [python3-dev]="the build with Debian's Python"
  [python3-venv]="the build with Debian's Python"
  [catch2]="the C++ tests"
  [libgloo-dev]="the gloo backend"
  [openmpi-bin]="the tests under mpirun"
  [strace]="the tests that count system calls"
  [ccache]="quick rebuilds"
  [g++-aarch64-linux-gnu]="the tests for AArch64"
  [qemu-user]="the tests for AArch64"
)

missing_packages() {
  local package
  for package in "${!uses[@]}"; do
    [[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] ||
      echo "$package"
  done
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "system packages: no apt-get here; parts whose libraries are not found are left out" >&2
  exit 0
fi
mapfile -t missing < <(missing_packages)
((${#missing[@]})) || exit 0

list=""
for package in "${missing[@]}"; do list+="${list:+, }$package for ${uses[$package]}"; done
if ((EUID != 0)); then
  echo "system packages: left out, as only root may install them: $list" >&2
  exit 0
fi
echo "system packages: installing $list"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -qq update && apt-get -qq install -y --no-install-recommends "${missing[@]}"; }; then
  echo "system packages: apt-get failed; what they are for is left out" >&2
  exit 0
fi
mkdir -p "$(dirname "$stamp")"
touch "$stamp"
