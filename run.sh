#!/usr/bin/env bash
# From a fresh Debian 12 machine to a chat: installs what is missing, builds, fetches a small model,
# starts the server and opens a chat in the terminal.
#
#   ./run.sh                          chat
#   ./run.sh "why is the sky blue?"   one reply, then end
#
# Environment: SLUICE_HOST (default 127.0.0.1:11434), SLUICE_MODELS (default ~/.ollama/models).
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p build
source scripts/common.sh

case ${1:-} in
  -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac

MODEL=smollm2:135m
SLUICE=build/release/sluice

install_packages "${RUN_PACKAGES[@]}"
# A tree that test.sh has configured keeps its tests; a new one does without and without their libraries,
# and without kernels for GPUs that are not here.
[[ -f build/release/build.ninja ]] ||
  configure release -DSLUICE_TESTS=OFF -DSLUICE_BENCH=OFF -DSLUICE_CUDA_ARCHITECTURES=native
build release --target sluice

if ! "$SLUICE" show "$MODEL" >/dev/null 2>&1; then
  file=$(fetch_smollm2) || die "the model could not be fetched (the reason is above)"
  say "Importing it as $MODEL"
  "$SLUICE" import "$file" "$MODEL"
fi

# A Sluice server that already runs is used; else one is started for as long as the chat lasts.
address=${SLUICE_HOST:-127.0.0.1:11434}
server_answers() { python3 scripts/server_status.py "$1"; }
if [[ $(server_answers "$address") == other ]]; then
  say "Another program listens on $address; Sluice takes 127.0.0.1:11435"
  address=127.0.0.1:11435
fi
export SLUICE_HOST=$address
if [[ $(server_answers "$address") == none ]]; then
  say "Starting the server on $address (log: build/serve.log)"
  "$SLUICE" serve >build/serve.log 2>&1 &
  server=$!
  trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
  for _ in $(seq 100); do
    [[ $(server_answers "$address") == sluice ]] && break
    kill -0 "$server" 2>/dev/null || { cat build/serve.log >&2; die "the server ended at once"; }
    sleep 0.05
  done
fi
"$SLUICE" run "$MODEL" "$@"
