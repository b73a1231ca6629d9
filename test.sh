#!/usr/bin/env bash
# Sets up, builds and runs every test; the last line is "N passed, N failed, N skipped".
#
#   ./test.sh            everything; suites whose programs and data did not change are not run again
#   ./test.sh --fresh    everything, run again
#   ./test.sh --fast     release build only: no sanitizers, no fuzzing
#   ./test.sh --bare     also runs ./run.sh in a bare Debian 12 (needs root)
#
# Environment: SLUICE_FUZZ_SECONDS (default 15 a target).
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p build
source scripts/common.sh

arguments=()
fast=
for argument in "$@"; do
  case $argument in
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --fast) fast=1; arguments+=(--fast) ;;
    --bare | --fresh) arguments+=("$argument") ;;
    *) die "unknown argument $argument (see ./test.sh --help)" ;;
  esac
done

install_packages "${RUN_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
# Tests that need what could not be fetched say so and are counted as skipped.
source scripts/test_data.sh
fetch_test_data || say "Some test material could not be fetched; tests that need it are skipped"
python_env test-venv -r tests/clients/requirements.txt ||
  say "The official clients could not be installed; their tests are skipped"

# Again: run.sh configures without the tests, and for this machine's GPU.
configure release -DSLUICE_TESTS=ON -DSLUICE_BENCH=ON -DSLUICE_CUDA_ARCHITECTURES=all
left_out=$(sed -n 's/^-- Left out: //p' build/release.configure.log)
[[ -z $left_out ]] || die "$left_out"
build release
if [[ -z $fast ]]; then
  build asan --target tests
  build tsan --target tsan_tests
  build fuzz
fi
exec python3 tests/run.py "${arguments[@]}"
