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
begin=$SECONDS failed=()

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
if command -v compute-sanitizer >/dev/null && [[ -z $fake ]]; then
  for tool in memcheck racecheck; do
    part "compute-sanitizer $tool" env SLUICE_TEST_CUDA_DRIVER="$library" timeout 60 \
      compute-sanitizer --tool "$tool" --error-exitcode 1 build/release/tests/cuda_test \
      --gtest_brief=1 --gtest_filter='CudaBackend.*Model*'
  done
fi

if [[ -n $fake && -n ${GPU_CHECK_MODEL:-} ]]; then
  part "replies" python3 bench/gpu_replies.py "$model" --tokens 8 --prompts 2 --beside reference
elif [[ -z $fake && -f $model ]]; then
  part "replies as on the CPU" timeout 90 python3 bench/gpu_replies.py "$model"
fi

for shape in $shapes; do
  part "$shape" timeout 150 build/release/bench/bench_gpu_steps "${shape%%:*}" "${shape#*:}" \
    "$out/${shape/:/-}.json" "$([[ -n $fake ]] && echo 0 || echo 0.4)"
done

# server_tests: the two tests of the article (stories of N words, by as many users), through HTTP.
server_tests() {
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
  kill "$server"
  wait "$server" || true
  rm -rf "$folder"
  return "$status"
}
if [[ -z $fake && -f $model ]]; then part "the server's tests" server_tests; fi

printf '\n%d s in all; results in %s\n' $((SECONDS - begin)) "$out"
((${#failed[@]} == 0)) || { printf 'FAILED: %s\n' "${failed[@]}"; exit 1; }
