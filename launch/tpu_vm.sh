#!/usr/bin/env bash
# Runs one training on a Cloud TPU, from one chip to a pod.
#
#   NAME=reader ZONE=us-central2-b BUCKET=gs://mine/runs \
#     launch/tpu_vm.sh run --config=configs/simclr_ocr.py:article
#   launch/tpu_vm.sh delete
#
# `run` makes the TPU or takes the one of this name, installs the project on all
# workers, runs there, shows the log of the workers, and begins anew after a
# pre-emption, whereupon the run goes on from its last checkpoint. At the end it
# copies the results and deletes the TPU (KEEP=1 keeps it).
# --dry-run before `run` prints the commands and runs nothing.
#
# The project and the account are those of your gcloud configuration.
set -euo pipefail

NAME=${NAME:-ssljax}
ZONE=${ZONE:-us-central2-b}
TYPE=${TYPE:-v4-8}
IMAGE=${IMAGE:-tpu-ubuntu2204-base}
SPOT=${SPOT:-1}                  # 1: cheaper, and may be pre-empted
SOURCE=${SOURCE:-.}              # the checkout, which is copied to the workers
# Where the run goes: a folder that all workers see. A bucket is mounted there.
BUCKET=${BUCKET:-}
WORKDIR=${WORKDIR:-/tmp/ssljax-runs/run}
RESULTS=${RESULTS:-runs/$NAME}   # here
TRIES=${TRIES:-20}               # starts after pre-emptions
PAUSE=${PAUSE:-60}               # seconds between two of them
KEEP=${KEEP:-}

dry=
if [[ ${1:-} == --dry-run ]]; then
  dry=1
  shift
fi
action=${1:-}
shift || true

exec 3>&1 # for what is printed where the output is read

call() {
  if [[ -n $dry ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

tpu() { # VERB ARGUMENTS...
  call gcloud compute tpus tpu-vm "$@" "--zone=$ZONE"
}

on_workers() { # WORKERS COMMAND
  tpu ssh "$NAME" "--worker=$1" "--command=$2"
}

state() {
  if [[ -n $dry ]]; then
    tpu describe "$NAME" '--format=value(state)' >&3
  else
    tpu describe "$NAME" '--format=value(state)' 2>/dev/null || true
  fi
}

create() {
  case $(state) in
  READY) return ;;
  '') ;;
  *) tpu delete "$NAME" --quiet || true ;; # pre-empted, and of no more use
  esac
  local options=("--accelerator-type=$TYPE" "--version=$IMAGE")
  if [[ $SPOT == 1 ]]; then
    options+=(--spot)
  fi
  tpu create "$NAME" "${options[@]}"
}

install() {
  on_workers all 'rm -rf ssljax && mkdir -p ssljax' || return
  tpu scp --recurse "$SOURCE/pyproject.toml" "$SOURCE/README.md" \
    "$SOURCE/LICENSE" "$SOURCE/ssljax" "$SOURCE/configs" "$NAME:ssljax/" \
    --worker=all || return
  on_workers all "python3 -m venv venv && venv/bin/pip install -q -e 'ssljax[tpu]'" || return
  if [[ -n $BUCKET ]]; then
    local path=${BUCKET#gs://}
    local name=${path%%/*} below=
    if [[ $path == */* ]]; then
      below="--only-dir=${path#*/}"
    fi
    on_workers all "mkdir -p '$WORKDIR' && (mountpoint -q '$WORKDIR' || gcsfuse --implicit-dirs $below '$name' '$WORKDIR')"
  fi
}

train() { # FLAGS...
  local flags
  printf -v flags '%q ' "$@"
  # JAX finds the other workers of the pod by itself.
  on_workers all "cd ssljax && ../venv/bin/python -m ssljax.main ${flags}--workdir='$WORKDIR'"
}

fetch() {
  call mkdir -p "$RESULTS"
  tpu scp --recurse "$NAME:$WORKDIR/*" "$RESULTS/" --worker=0
}

case $action in
run)
  if [[ $# == 0 ]]; then
    echo "Found no flags; expected those of ssljax.main, such as" \
      "--config=configs/simclr_ocr.py:article" >&2
    exit 2
  fi
  status=1
  for ((start = 1; start <= TRIES; start++)); do
    status=0
    { create && install && train "$@"; } || status=$?
    # A run that fails on a TPU that is there has a mistake of its own; one
    # that was asked to stop (75) is about to lose its TPU.
    if [[ $status == 0 ]] || [[ $status != 75 && $(state) == READY ]]; then
      break
    fi
    echo "The TPU is gone (start $start of $TRIES); again in $PAUSE s." >&2
    sleep "$PAUSE"
  done
  fetch || status=$?
  if [[ -z $KEEP && $status == 0 ]]; then
    tpu delete "$NAME" --quiet
  fi
  exit "$status"
  ;;
delete)
  tpu delete "$NAME" --quiet
  ;;
*)
  echo "Found '$action'; expected run or delete: launch/tpu_vm.sh run" \
    "--config=configs/simclr_ocr.py:article" >&2
  exit 2
  ;;
esac
