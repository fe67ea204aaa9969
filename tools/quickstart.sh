#!/bin/sh
# From a fresh checkout to a chat: finds or installs a compiler and CMake, builds, and starts
# `nibble chat` with the bundled model. Arguments go to `nibble chat`. With standard input not a
# terminal, each of its lines is answered.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=tools/lib.sh
. "$root/tools/lib.sh"

[ -x "$root/build/nibble" ] || ensure_tools
if cmake_works; then
  build "$root/build" nibble_cli
fi
clean_up
exec "$root/build/nibble" chat "$@"
