# shellcheck shell=sh
# shellcheck disable=SC2154
# Shared by quickstart.sh and test.sh, which set `root` to the project's folder: finds or installs
# what a build needs, and builds. POSIX sh. All talk goes to standard error.

say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

work=$(mktemp -d)
clean_up() {
  rm -rf "$work"
  trap - EXIT INT TERM
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs a command without its output, which is shown only if it fails. Never reads standard input:
# that is the user's conversation.
quietly() {
  "$@" >"$work/log" 2>&1 </dev/null && return 0
  cat "$work/log" >&2
  return 1
}

# ---- what is there -------------------------------------------------------------------------------

# Whether the compiler $1 is new enough and has a standard library to match.
compiler_works() {
  have "$1" || return 1
  cat >"$work/probe.cpp" <<'END'
#include <atomic>
#include <bit>
#include <concepts>
#include <filesystem>
#include <span>
#include <thread>
#if defined(__clang__) ? __clang_major__ < 14 : __GNUC__ < 12
#error "too old"
#endif
int main() {
  std::atomic<int> a = std::popcount(1u);
  std::thread([&] { a.notify_one(); }).join();
  return static_cast<int>(std::span<int>().size());
}
END
  # $1 may hold flags too
  # shellcheck disable=SC2086
  $1 -std=c++20 "$work/probe.cpp" -o "$work/probe" -pthread >/dev/null 2>&1 </dev/null
}

# Sets CXX to a compiler that works.
find_compiler() {
  if [ -n "${CXX:-}" ]; then
    compiler_works "$CXX" || die "CXX=$CXX does not work or is older than GCC 12 and Clang 14"
    return 0
  fi
  for compiler in c++ g++ clang++ g++-15 g++-14 g++-13 g++-12 \
    clang++-20 clang++-19 clang++-18 clang++-17 clang++-16 clang++-15 clang++-14; do
    if compiler_works "$compiler"; then
      CXX=$compiler
      export CXX
      return 0
    fi
  done
  return 1
}

# CMake 3.20 or later.
cmake_works() {
  have cmake || return 1
  version=$(cmake --version 2>/dev/null | sed -n '1s/^cmake version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
  major=${version% *}
  minor=${version#* }
  [ -n "$version" ] && { [ "$major" -gt 3 ] || { [ "$major" -eq 3 ] && [ "$minor" -ge 20 ]; }; }
}

# ---- installing ----------------------------------------------------------------------------------

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    sudo "$@"
  fi
}

package_manager() {
  for manager in apt-get dnf pacman zypper apk brew; do
    if have "$manager"; then
      echo "$manager"
      return
    fi
  done
}

# Ends the script unless packages can be installed; $1 says what is wanted.
require_installer() {
  manager=$(package_manager)
  [ -n "$manager" ] || die "$1 is missing, and no known package manager is here: install it by hand"
  if [ "$manager" != brew ] && [ "$(id -u)" -ne 0 ] && ! have sudo; then
    die "$1 is missing, and installing it takes root rights: run this as root once"
  fi
}

refreshed=
install_packages() {
  say "Installing with $manager: $*"
  if [ -z "$refreshed" ]; then
    refreshed=yes
    case $manager in
      apt-get) quietly as_root apt-get update || say "apt-get update failed, going on without" ;;
      zypper) quietly as_root zypper --non-interactive refresh || true ;;
    esac
  fi
  case $manager in
    apt-get)
      quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
      ;;
    dnf) quietly as_root dnf install -y "$@" ;;
    pacman) quietly as_root pacman -Sy --noconfirm --needed "$@" ;;
    zypper) quietly as_root zypper --non-interactive install "$@" ;;
    apk) quietly as_root apk add "$@" ;;
    brew) quietly brew install "$@" ;;
  esac
}

# Packages that hold a C++ compiler, the usual one first, for where the usual one is too old.
compiler_packages() {
  case $manager in
    apt-get) echo g++ g++-12 clang ;;
    dnf) echo gcc-c++ clang ;;
    zypper) echo gcc-c++ gcc13-c++ gcc12-c++ ;;
    pacman) echo gcc ;;
    apk) echo g++ ;;
    brew) die "no C++ compiler: run  xcode-select --install  and start again" ;;
  esac
}

# Compiler, CMake and make, found or installed.
ensure_tools() {
  missing=
  wanted=
  have make || missing="$missing make"
  cmake_works || missing="$missing cmake"
  find_compiler || wanted="a C++20 compiler (GCC 12, Clang 14 or later)"
  [ -n "$missing$wanted" ] || return 0
  require_installer "${wanted:-CMake 3.20 or make}"
  packages=
  [ -z "$wanted" ] || packages=$(compiler_packages)
  # shellcheck disable=SC2086
  install_packages ${packages%% *} $missing || die "the packages could not be installed"
  for package in ${packages#"${packages%% *}"}; do
    if find_compiler; then break; fi
    install_packages "$package" || true
  done
  find_compiler || die "$manager offers no compiler that is new enough: GCC 12 or Clang 14 is needed"
  cmake_works || die "CMake 3.20 is needed, $manager offers only $(cmake --version | head -n 1)"
}

# ---- building ------------------------------------------------------------------------------------

# As many compilers at once as there are processors, and memory for them.
n_jobs() {
  jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
  memory=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo 2>/dev/null || true)
  if [ -n "$memory" ]; then
    fit=$((memory / 700000))
    [ "$fit" -lt "$jobs" ] && jobs=$fit
  fi
  [ "$jobs" -ge 1 ] && echo "$jobs" || echo 1
}

# Shows the percentage of `make` or `ninja` on a terminal.
show_progress() {
  if [ -t 2 ]; then
    while IFS= read -r line; do
      case $line in
        '['*']'*) printf '\r%s %s] ' "$1" "${line%%]*}" >&2 ;;
      esac
    done
    printf '\r\033[K' >&2
  else
    cat >/dev/null
  fi
}

# build FOLDER TARGET CMAKE-ARGUMENTS: configures (Release unless said otherwise) and builds.
build() {
  folder=$1
  target=$2
  shift 2
  # A folder that was made for a copy of the project elsewhere cannot be used again.
  home=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$folder/CMakeCache.txt" 2>/dev/null || true)
  if [ -n "$home" ] && [ "$home" != "$root" ]; then
    rm -rf "$folder/CMakeCache.txt" "$folder/CMakeFiles"
  fi
  [ -f "$folder/CMakeCache.txt" ] || say "Building Nibble (a few minutes, once) ..."
  quietly cmake -S "$root" -B "$folder" -DCMAKE_BUILD_TYPE=Release "$@" || die "CMake failed"
  {
    status=0
    cmake --build "$folder" --target "$target" -j "$(n_jobs)" 2>&1 </dev/null || status=$?
    echo "$status" >"$work/status"
  } | tee "$work/log" | show_progress "Building"
  if [ "$(cat "$work/status")" -ne 0 ]; then
    grep -v '^\[ *[0-9]*%\]' "$work/log" >&2 || true
    die "the build failed"
  fi
}
