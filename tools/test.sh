#!/bin/sh
# Builds and runs all tests; warnings of GCC are errors. Other arguments go to ctest.
#   --clang      built with Clang, if there is one
#   --sanitize   with AddressSanitizer and UndefinedBehaviorSanitizer
#   --arm64      cross compiled for arm64, under qemu-user
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)

kind=release
while [ $# -gt 0 ]; do
  case $1 in
    --clang) kind=clang ;;
    --sanitize) kind=sanitize ;;
    --arm64) kind=arm64 ;;
    -h | --help)
      sed -n '2,5s/^# //p' "$0"
      exit 0
      ;;
    *) break ;;
  esac
  shift
done
# shellcheck source=tools/lib.sh
. "$root/tools/lib.sh"

case $(uname -m) in
  aarch64 | arm64) [ "$kind" != arm64 ] || kind=release ;; # the tests run as they are
esac
if [ "$kind" = clang ]; then
  for CXX in clang++ clang++-20 clang++-19 clang++-18 clang++-17 clang++-16 clang++-15 clang++-14; do
    ! compiler_works "$CXX" || break
  done
  if ! compiler_works "$CXX"; then
    say "skipped: there is no Clang 14 or newer"
    exit 0
  fi
  export CXX
fi
ensure_tools
case $kind in
  release)
    folder=$root/build
    build "$folder" all -DNIBBLE_WERROR=ON
    ;;
  clang)
    folder=$root/build-clang
    # Every file alone, so that it includes what it uses.
    build "$folder" all -DNIBBLE_UNITY=OFF -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON
    ;;
  sanitize)
    folder=$root/build-sanitize
    build "$folder" all -DNIBBLE_WERROR=ON -DNIBBLE_SANITIZE=address,undefined
    ;;
  arm64)
    folder=$root/build-arm64
    if ! have aarch64-linux-gnu-g++ || ! have qemu-aarch64-static; then
      require_installer "a cross compiler for arm64"
      [ "$manager" = apt-get ] || die "install aarch64-linux-gnu-g++ and qemu-aarch64-static first"
      install_packages g++-aarch64-linux-gnu qemu-user-static ||
        die "the cross compiler could not be installed"
    fi
    unset CXX
    build "$folder" all -DNIBBLE_WERROR=ON \
      -DCMAKE_TOOLCHAIN_FILE="$root/tools/arm64-toolchain.cmake"
    ;;
esac

export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
cd "$folder"
ctest --output-on-failure -j "$(n_jobs)" "$@" </dev/null
