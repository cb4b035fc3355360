#!/usr/bin/env bash
# Runs one training as N processes on this machine, over loopback.
#
#   launch/local.sh 2 --config=configs/simclr_ocr.py:smoke --workdir=runs/two
#   launch/local.sh --dry-run 2 --config=...
#
# Needs bash 4.4 or later. --dry-run prints the commands and runs nothing.
# The exit status is that of the first process that fails; the others are then
# stopped.
set -euo pipefail

PYTHON=${PYTHON:-python}
PORT=${PORT:-9876}       # of process 0
DEVICES=${DEVICES:-}     # CPU devices of each process; empty: what JAX finds

dry=
if [[ ${1:-} == --dry-run ]]; then
  dry=1
  shift
fi
if [[ ! ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  echo "Found '${1:-}'; expected the number of processes, then the flags of" \
    "ssljax.main: launch/local.sh 2 --config=configs/simclr_ocr.py" >&2
  exit 2
fi
count=$1
shift

settings=()
if [[ -n $DEVICES ]]; then
  settings+=("XLA_FLAGS=--xla_force_host_platform_device_count=$DEVICES")
fi

children=()
stop() {
  for child in "${children[@]}"; do
    kill -s TERM "$child" 2>/dev/null || true
  done
}
# Each process gets a group of its own, or Ctrl-C would reach it twice, and a
# second signal ends a process at once, without a save.
set -m
trap stop TERM INT

for ((process = 0; process < count; process++)); do
  command=(env "${settings[@]}" "$PYTHON" -m ssljax.main "$@"
    "--coordinator=localhost:$PORT" "--processes=$count" "--process=$process")
  if [[ -n $dry ]]; then
    printf '%q ' "${command[@]}"
    echo '&'
    continue
  fi
  "${command[@]}" &
  children+=($!)
done
if [[ -n $dry ]]; then
  echo wait
  exit 0
fi

status=0
while ((${#children[@]})); do
  left=()
  for child in "${children[@]}"; do
    if kill -0 "$child" 2>/dev/null; then
      left+=("$child")
      continue
    fi
    code=0
    wait "$child" || code=$?
    if ((code && !status)); then
      status=$code
      failed=1
    fi
  done
  children=("${left[@]}")
  # Processes that were asked to stop (75) save together, and all end so.
  if [[ -n ${failed:-} ]]; then
    failed=
    if ((status != 75)); then
      stop
    fi
  fi
  sleep 0.2 || true
done
exit "$status"
