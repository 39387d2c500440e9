#!/bin/sh
# Installs from Debian what is missing, then builds and runs a target of the Makefile.
# Usage: sh tools/setup.sh [TARGET]; --need build|test|check|bench|fuzz only installs.
set -eu
cd "$(dirname "$0")/.."

build="gcc make pkg-config libc6-dev liblua5.4-dev libuv1-dev lua-luv lua-luv-dev libdw-dev libelf-dev
  libffi-dev libedit-dev libsodium-dev"
tests="$build lua-busted lua-dkjson clang lld mold binutils minisign"
checks="$tests cppcheck lua-check valgrind libc6-dbg"
fuzzers="$tests libclang-rt-14-dev"
benches="$build luajit"

need() {
  case "$1" in
    test) echo "$tests" ;;
    check) echo "$checks" ;;
    fuzz) echo "$fuzzers" ;;
    bench) echo "$benches" ;;
    *) echo "$build" ;;
  esac
}

missing() {
  for package in $1; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
  done
}

install_missing() {
  if ! command -v dpkg-query >/dev/null; then
    command -v gcc >/dev/null && command -v make >/dev/null && return 0
    echo "hotlua: this is not Debian; install the equivalents of:" $1 >&2
    exit 1
  fi
  packages=$(missing "$1" | tr '\n' ' ')
  [ -n "$packages" ] || return 0
  if [ "$(id -u)" = 0 ]; then
    as=""
  elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    as="sudo"
  else
    echo "hotlua: some packages are missing, and they can only be installed by root. Type:" >&2
    echo "  su -c 'apt-get install -y $packages'" >&2
    exit 1
  fi
  echo "hotlua: installing $packages"
  log=$(mktemp)
  if ! { DEBIAN_FRONTEND=noninteractive $as apt-get install -y --no-install-recommends $packages >"$log" 2>&1 ||
         { $as apt-get update >>"$log" 2>&1 &&
           DEBIAN_FRONTEND=noninteractive $as apt-get install -y --no-install-recommends $packages \
             >>"$log" 2>&1; }; }; then
    tail -n 20 "$log" >&2
    echo "hotlua: the packages could not be installed; type: ${as:+$as }apt-get install -y $packages" >&2
    exit 1
  fi
  rm -f "$log"
}

if [ "${1:-}" = --need ]; then
  install_missing "$(need "${2:-build}")"
  exit 0
fi
target=${1:-}
install_missing "$(need "$target")"
exec make -j"$(nproc)" $target
