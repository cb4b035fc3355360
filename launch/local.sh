#!/usr/bin/env bash
# One run as N processes on this machine, for trying out what many hosts do.
#
#   launch/local.sh N --config=configs/simclr_ocr.py:laptop [FLAG...]
#   launch/local.sh --dry-run N FLAG...    prints the commands and runs none
#
# Process 0 writes to the terminal and the others to LOGS. When a process ends
# with an error, the others are stopped, and its status is that of this script.
# It needs bash 5.1.
set -euo pipefail

PYTHON="${PYTHON:-python}"
PORT="${PORT:-9911}"     # on which the processes find one another
LOGS="${LOGS:-logs}"     # the folder of the other processes' output
GPU_EACH="${GPU_EACH:-}" # 1 shows process I the GPU of number I alone

dry=
if [[ "${1:-}" == --dry-run ]]; then
  dry=1
  shift
fi
count="${1:-}"
if [[ ! "$count" =~ ^[1-9][0-9]*$ || $# -lt 2 ]]; then
  echo "Found '$*'; expected launch/local.sh [--dry-run] N --config=FILE" >&2
  exit 2
fi
shift

declare -A left=() # the processes that have not ended yet
stop() {
  for child in "${!left[@]}"; do
    kill -TERM "$child" 2>/dev/null || true
  done
}
trap stop INT TERM

for ((i = 0; i < count; i++)); do
  command=("$PYTHON" -m ssljax.main "$@" "--coordinator=localhost:$PORT"
    "--processes=$count" "--process=$i")
  if [[ -n "$GPU_EACH" ]]; then
    command=(env "CUDA_VISIBLE_DEVICES=$i" "${command[@]}")
  fi
  if [[ -n "$dry" ]]; then
    printf '%q ' "${command[@]}" | sed 's/ $//'
    if ((i > 0)); then printf ' > %q 2>&1' "$LOGS/process-$i.log"; fi
    echo
  elif ((i == 0)); then
    "${command[@]}" &
    left[$!]=$i
  else
    mkdir -p "$LOGS"
    "${command[@]}" >"$LOGS/process-$i.log" 2>&1 &
    left[$!]=$i
  fi
done

worst=0
while ((${#left[@]} > 0)); do
  status=0 ended=
  wait -n -p ended "${!left[@]}" || status=$?
  if [[ -z "${ended:-}" ]]; then continue; fi # a signal came, and was passed on
  unset "left[$ended]"
  if ((status != 0 && worst == 0)); then
    worst=$status
    stop
  fi
done
exit "$worst"
