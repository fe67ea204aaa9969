#!/bin/sh
# Speed of nibble and of llama.cpp (the npm package node-llama-cpp, prebuilt) on the same GGUF files:
# for each instruction set, runs of the two in turns, medians, ratios. Prints a Markdown table.
#
# usage: tools/compare_peers.sh [-p 512] [-n 64] [-t 0] [-r 3] [--isa avx2,best] MODEL.gguf...
#   -p, -n  tokens of the prompt, tokens to generate; 0: none    -t  threads, 0: nibble's default
#   -r      rounds: each starts both programs anew and takes one warm measurement of each
#   --isa   of avx2, avxvnni, avx512 (against llama.cpp's builds for Haswell, Alder Lake, Ice Lake) and
#           best (what each takes by itself); default: all that this CPU runs
# Needs Linux on x86-64, node and npm. NIBBLE: the command, default build/nibble. PEER_DIR: where
# llama.cpp is installed on first use, default ~/.cache/nibble/peers.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
die() {
  echo "compare_peers.sh: $*" >&2
  exit 1
}

asked="tools/compare_peers.sh $*"
prompt=512 generate=64 threads=0 rounds=3 wanted=
while [ $# -gt 0 ]; do
  case $1 in
    -p) prompt=$2 ;;
    -n) generate=$2 ;;
    -t) threads=$2 ;;
    -r) rounds=$2 ;;
    --isa) wanted=$(echo "$2" | tr , ' ') ;;
    -h | --help)
      sed -n '2,12s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    -*) die "unknown option $1" ;;
    *) break ;;
  esac
  shift 2
done
[ $# -gt 0 ] || die "no model is given; see --help"

nibble=${NIBBLE:-$root/build/nibble}
[ -x "$nibble" ] || die "$nibble is not there: build it first, or set NIBBLE"
for tool in node npm; do
  command -v $tool >/dev/null || die "$tool is needed to run llama.cpp's npm package"
done
case $(uname -sm) in
  "Linux x86_64") ;;
  *) die "the prebuilt llama.cpp is taken for Linux on x86-64 only" ;;
esac

# ---- the peer --------------------------------------------------------------------------------------

version=3.22.1
peers=${PEER_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/nibble/peers}/node-llama-cpp-$version
bins=node_modules/@node-llama-cpp/linux-x64/bins/linux-x64

# A copy of the package (of hard links) whose loader finds one CPU build only.
install_variant() { # variant
  if [ ! -f "$peers/all/ok" ]; then
    rm -rf "$peers/all"
    mkdir -p "$peers/all"
    (cd "$peers/all" && echo '{"private": true}' >package.json &&
      npm install --omit=optional "node-llama-cpp@$version" "@node-llama-cpp/linux-x64@$version") \
      >&2 || die "npm could not install node-llama-cpp $version"
    [ -d "$peers/all/$bins" ] || die "the npm package has no build for Linux on x86-64"
    touch "$peers/all/ok"
  fi
  [ "$1" != all ] && [ ! -f "$peers/$1/ok" ] || return 0
  rm -rf "${peers:?}/$1"
  cp -al "$peers/all" "$peers/$1"
  rm -f "$peers/$1/ok"
  for file in "$peers/$1/$bins"/libggml-cpu-*.so; do
    case $file in
      */libggml-cpu-"$1".so | */libggml-cpu-x64.so) ;;
      *) rm -f "$file" ;;
    esac
  done
  [ -f "$peers/$1/$bins/libggml-cpu-$1.so" ] || die "the npm package has no build for $1"
  touch "$peers/$1/ok"
}

# Prints "prompt RATE" and "generate RATE" of one warm run.
run_peer() { # variant model
  cp "$work/peer.mjs" "$peers/$1/measure.mjs"
  (cd "$peers/$1" && node measure.mjs "$2" "$prompt" "$generate" "$n_threads") || die "llama.cpp failed"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cat >"$work/peer.mjs" <<'JS'
import {getLlama} from "node-llama-cpp";

const [path, ...numbers] = process.argv.slice(2);
const [nPrompt, nGenerate, threads] = numbers.map(Number);
const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});
const model = await llama.loadModel({modelPath: path, gpuLayers: 0});
const context = await model.createContext({
  contextSize: Math.max(nPrompt, 1) + nGenerate + 16, batchSize: Math.max(nPrompt, 32), threads, flashAttention: true,
});
const sequence = context.getSequence();
const tokenAt = (i) => 1000 + (i * 7193) % 29000;

async function prompt() {
  await sequence.clearHistory();
  const tokens = Array.from({length: nPrompt}, (_, i) => tokenAt(i));
  const start = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(tokens);
  return nPrompt / (performance.now() - start) * 1e3;
}
async function generate(n) {
  await sequence.clearHistory();
  await sequence.evaluateWithoutGeneratingNewTokens([tokenAt(0)]);
  let done = 0, start = performance.now();
  for await (const _ of sequence.evaluate([tokenAt(1)], {temperature: 0, yieldEogToken: true}))
    if (++done >= n) break;
  return done / (performance.now() - start) * 1e3;
}
if (nPrompt > 0) { await prompt(); console.log("prompt", await prompt()); }
if (nGenerate > 0) { await generate(4); console.log("generate", await generate(nGenerate)); }
process.exit(0);
JS

# ---- measuring -------------------------------------------------------------------------------------

# Prints "prompt RATE SHARE" and "generate RATE SHARE": shares of the kernels' peak and of memory.
run_nibble() { # isa model round
  isa=$1 model_path=$2
  check=--no-check # after the first round: once is enough
  [ "$3" != 0 ] || check=
  set -- ${check:+"$check"} -p "$prompt" -n "$generate" -t "$n_threads" -r 1 -o jsonl
  [ "$isa" = best ] || set -- "$@" --isa "$isa"
  "$nibble" bench "$model_path" "$@" 2>"$work/notes" >"$work/rows" || die "$(cat "$work/notes")"
  awk '
    function field(name,  text) {
      if (!match($0, "\"" name "\":[^,}]*")) return ""
      text = substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3)
      gsub(/"/, "", text)
      return text
    }
    {
      if (field("n_prompt") > 0) print "prompt", field("median_ts"), field("peak_share")
      else print "generate", field("median_ts"), field("bandwidth_share")
    }' "$work/rows"
}

# The median of column $3 of the lines of kind $2 in a file.
median() { # file kind column
  awk -v kind="$2" -v column="$3" '$1 == kind && $column + 0 > 0 { print $column }' "$1" | sort -g |
    awk '{ v[NR] = $1 } END {
      if (NR) printf "%.6g", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

available=$("$nibble" bench -p 1 -n 0 -r 1 --isa all --no-check --no-bandwidth -o csv 2>/dev/null |
  awk -F, 'NR == 1 { for (i = 1; i <= NF; ++i) if ($i == "backends") at = i; next } { print $at }')
threads_line=$("$nibble" bench -p 1 -n 0 -r 1 -t "$threads" --no-check --no-bandwidth -o jsonl 2>/dev/null)
n_threads=$(echo "$threads_line" | sed 's/.*"n_threads":\([0-9]*\).*/\1/')
cpu=$(echo "$threads_line" | sed 's/.*"cpu_info":"\([^"]*\)".*/\1/')
best=$(echo "$available" | head -n 1)

pairs=
for pair in avx2:haswell avxvnni:alderlake avx512:icelake best:all; do
  isa=${pair%:*}
  [ "$isa" = best ] || echo "$available" | grep -qx "$isa" || continue
  case " ${wanted:-$isa} " in *" $isa "*) pairs="$pairs $pair" ;; esac
done
[ -n "$pairs" ] || die "this CPU runs none of the instruction sets that are compared"

# One line of the table.
row() { # file model isa variant kind test
  ours=$(median "$1.ours" "$5" 2)
  theirs=$(median "$1.peer" "$5" 2)
  share=$(median "$1.ours" "$5" 3)
  awk -v model="$2" -v isa="$3" -v peer="$4" -v test="$6" -v a="$ours" -v b="$theirs" -v s="$share" 'BEGIN {
    share = (s + 0 > 0) ? sprintf(" (%.0f%%)", 100 * s) : ""
    printf "| %s | %s | %s | %.1f%s | %.1f (%s) | %.2f |\n", model, isa, test, a, share, b, peer, a / b }'
}

echo "CPU: $cpu, $n_threads threads, $(date +%Y-%m-%d). Tokens per second, medians of $rounds runs in turns; in brackets the"
echo "share of what memory reads (generation) or these kernels multiply on registers (prompt) in the same run."
echo "\`$asked\`"
echo
echo "| model | nibble's kernels | test | nibble | llama.cpp (its build) | ratio |"
echo "| --- | --- | --- | ---: | ---: | ---: |"
for model in "$@"; do
  path=$(realpath "$model")
  name=$(basename "$model" .gguf)
  for pair in $pairs; do
    isa=${pair%:*} variant=${pair#*:}
    install_variant "$variant"
    file=$work/result
    rm -f "$file.ours" "$file.peer"
    round=0
    while [ $round -lt "$rounds" ]; do
      [ ! -t 2 ] || printf '\r%s %s: round %d of %d\033[K' "$name" "$isa" $((round + 1)) "$rounds" >&2
      run_nibble "$isa" "$path" $round >>"$file.ours"
      run_peer "$variant" "$path" >>"$file.peer"
      round=$((round + 1))
    done
    [ ! -t 2 ] || printf '\r\033[K' >&2
    [ "$isa" = best ] && isa="$best (best)" && variant=best
    [ "$prompt" = 0 ] || row "$file" "$name" "$isa" "$variant" prompt "pp$prompt"
    [ "$generate" = 0 ] || row "$file" "$name" "$isa" "$variant" generate "tg$generate"
  done
done
