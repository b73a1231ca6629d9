#!/usr/bin/env bash
# Checks and measures the CUDA backend on a machine with a GPU, in under 8 minutes from a tree that is
# built (also one that was built elsewhere and carried there).
#
#   scripts/gpu_check.sh [FOLDER]      results: FOLDER/table.txt and *.json (default build/gpu-check)
#   scripts/gpu_check.sh --fake        the script itself, tiny, on the fake driver of tests/simt
#
# Environment: SLUICE_CUDA_DRIVER (a driver's library), GPU_CHECK_SHAPES (default "70b:q4_0
# 70b:q4_k_m"; what does not fit the GPU is left out), GPU_CHECK_MODEL (a GGUF file for replies and the
# server's tests; default SmolLM2, if it is in build/models).
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build
source scripts/common.sh

out=build/gpu-check fake=
case ${1:-} in
  -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
  --fake) fake=1 ;;
  ?*) out=$1 ;;
esac
shapes=${GPU_CHECK_SHAPES:-70b:q4_0 70b:q4_k_m}
model=${GPU_CHECK_MODEL:-build/models/smollm2-135m-q4_1.gguf}
begin=$SECONDS failed=() left_out=()

if [[ -n $fake ]]; then
  export SLUICE_CUDA_DRIVER=$PWD/build/release/tests/libfakecuda.so
  export SLUICE_FAKECUDA=memory=256,checks=none
  shapes='tiny:q4_0 tiny:q4_k_m' out=build/gpu-check-fake
fi
# Who has carried a build has no compiler, perhaps, and needs none.
for program in sluice tests/cuda_test bench/bench_gpu_steps; do
  [[ -x build/release/$program ]] && continue
  configure release -DSLUICE_TESTS=ON -DSLUICE_BENCH=ON -DSLUICE_CUDA_ARCHITECTURES=all
  build release --target sluice cuda_test bench_gpu_steps
  break
done
mkdir -p "$out"
rm -f "$out"/*.json
exec > >(tee "$out/table.txt") 2>&1

# part NAME COMMAND...: what fails is told at the end; the rest goes on.
part() {
  local name=$1 start=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  "$@" || failed+=("$name")
  printf '(%d s)\n' $((SECONDS - start))
}

part "machine" build/release/sluice version
[[ -n $fake ]] || nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit \
  --format=csv,noheader || true

# The tests of the backend, exactness and the engine against the reference, on the GPU itself: those
# that need another machine than there is say so and are skipped.
tests='CudaBackend.*:CudaExact.*:CudaEngine.*'
library=${SLUICE_CUDA_DRIVER:-libcuda.so.1}
if [[ -n $fake ]]; then tests='CudaBackend.FloatModelEqualsReference'; fi
part "kernels against the reference" env SLUICE_TEST_CUDA_DRIVER="$library" timeout 120 \
  build/release/tests/cuda_test --gtest_brief=1 --gtest_filter="$tests"
if [[ -n $fake && -n ${GPU_CHECK_MODEL:-} ]]; then
  part "replies" python3 bench/gpu_replies.py "$model" --tokens 8 --prompts 2 --beside reference
elif [[ -z $fake && -f $model ]]; then
  part "replies as on the CPU" timeout 90 python3 bench/gpu_replies.py "$model"
elif [[ -z $fake ]]; then
  left_out+=("replies and the server's tests: there is no $model (GPU_CHECK_MODEL)")
fi

# steps SHAPE: left out where the GPU has no room for it.
steps() {
  local status=0
  timeout 150 build/release/bench/bench_gpu_steps "${1%%:*}" "${1#*:}" "$out/${1/:/-}.json" \
    "$([[ -n $fake ]] && echo 0 || echo 0.4)" || status=$?
  ((status == 3)) || return "$status"
  left_out+=("$1: it does not fit")
}
for shape in $shapes; do part "$shape" steps "$shape"; done

# server_tests: the two tests of the article (stories of N words, by as many users), through HTTP.
server_tests() (
  local folder url
  folder=$(mktemp -d)
  export SLUICE_MODELS=$folder HOME=$folder SLUICE_HOST=127.0.0.1:$((20000 + RANDOM % 10000))
  build/release/sluice import "$model" checked >/dev/null
  build/release/sluice serve --device cuda:0 2>"$out/serve.log" &
  local server=$!
  for _ in $(seq 100); do
    [[ $(python3 scripts/server_status.py "$SLUICE_HOST") == sluice ]] && break
    sleep 0.1
  done
  timeout 90 build/release/sluice loadtest --words 25,100 --json "$out/server.json"
  local status=$?
  ps -o cputime=,etime= -p "$server" | sed 's/^/processor time of the server, and its life: /'
  build/release/sluice ps || true
  grep -o 'loaded checked.* in .*' "$out/serve.log" || true  # from a file
  kill "$server"
  wait "$server" || true
  rm -rf "$folder"
  return "$status"
)
if [[ -z $fake && -f $model ]]; then part "the server's tests" server_tests; fi

# Where compute-sanitizer is there it may still be refused the GPU (in some sandboxes): no fault of
# ours, so that it is asked first with a program that is in order. Last, as it takes longest.
sanitized() {
  SLUICE_TEST_CUDA_DRIVER="$library" timeout "$1" compute-sanitizer --tool "$2" --error-exitcode 1 \
    build/release/tests/cuda_test --gtest_brief=1 --gtest_filter="$3"
}
if [[ -n $fake ]]; then
  :
elif ! command -v compute-sanitizer >/dev/null; then
  left_out+=("compute-sanitizer: it is not installed")
elif sanitized 30 memcheck CudaDevice.CanBeUsed >"$out/sanitizer.log" 2>&1; then
  for tool in memcheck racecheck; do
    part "compute-sanitizer $tool" sanitized 75 "$tool" 'CudaBackend.*Model*'
  done
else
  left_out+=("compute-sanitizer: it cannot use this GPU ($out/sanitizer.log)")
fi

((${#left_out[@]} == 0)) || printf '\nleft out: %s' "${left_out[@]}"
printf '\n%d s in all; results in %s\n' $((SECONDS - begin)) "$out"
((${#failed[@]} == 0)) || { printf 'FAILED: %s\n' "${failed[@]}"; exit 1; }
