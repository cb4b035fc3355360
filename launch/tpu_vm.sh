#!/usr/bin/env bash
# One run on a Cloud TPU VM or a slice of several hosts, from nothing to results.
#
#   BUCKET=gs://NAME launch/tpu_vm.sh --config=configs/simclr_ocr.py:article
#   launch/tpu_vm.sh --dry-run FLAG...   prints every command and runs none
#
# The script makes the VM, or takes the one of this name; installs this checkout
# on all of its hosts; runs `ssljax.main` on all of them and shows the log; makes
# the VM anew and goes on where the run stopped if it was pre-empted; copies the
# run folder here; and deletes the VM. The run folder lies in the bucket, which
# outlives the VM and is mounted by gcsfuse. Take a bucket with a hierarchical
# namespace, because a checkpoint is complete when its folder is renamed, and
# other buckets rename a folder file by file. `gcloud` must be installed, and
# signed in to your project.
set -euo pipefail

VM="${VM:-ssljax}"
ZONE="${ZONE:-us-central1-a}"
TYPE="${TYPE:-v5litepod-8}"
IMAGE="${IMAGE:-v2-alpha-tpuv5-lite}" # the runtime that TYPE needs
SPOT="${SPOT-1}"                      # 1 takes a cheap VM, pre-empted at any time
BUCKET="${BUCKET:-}"                  # gs://NAME
RUN="${RUN:-run}"                     # the run folder's name in the bucket
OUT="${OUT:-runs}"                    # where the run folder is copied to here
KEEP="${KEEP:-}"                      # 1 does not delete the VM at the end
TRIES="${TRIES:-20}"                  # how often it is begun
PAUSE="${PAUSE:-60}"                  # seconds between two of them

dry=
if [[ "${1:-}" == --dry-run ]]; then
  dry=1
  BUCKET="${BUCKET:-gs://BUCKET}"
  shift
fi
if (($# == 0)); then
  echo 'Found no flags; expected --config=FILE and others of ssljax.main' >&2
  exit 2
fi
if [[ "$BUCKET" != gs://* ]]; then
  echo "Found BUCKET='$BUCKET'; expected gs://NAME, where the run is kept" >&2
  exit 2
fi

run() {
  if [[ -n "$dry" ]]; then
    printf '%q ' "$@" | sed 's/ $/\n/'
  else
    "$@"
  fi
}

tpu() { run gcloud compute tpus tpu-vm "$1" "$VM" --zone="$ZONE" "${@:2}"; }

everywhere() { tpu ssh --worker=all --command="$1"; }

# READY, PREEMPTED, ...; nothing where there is no such VM.
state() {
  if [[ -z "$dry" ]]; then
    gcloud compute tpus tpu-vm describe "$VM" --zone="$ZONE" \
      --format='value(state)' 2>/dev/null || true
  fi
}

prepare() {
  local found
  found="$(state)"
  if [[ -n "$found" && "$found" != READY ]]; then
    tpu delete --quiet || return
  fi
  if [[ "$found" != READY ]]; then
    local spot=()
    if [[ "$SPOT" == 1 ]]; then spot=(--spot); fi
    tpu create --accelerator-type="$TYPE" --version="$IMAGE" "${spot[@]}" ||
      return
  fi
  run git archive --format=tar.gz --output="$archive" HEAD || return
  run gcloud compute tpus tpu-vm scp "$archive" "$VM:ssljax.tar.gz" \
    --zone="$ZONE" --worker=all || return
  everywhere "mkdir -p ssljax runs && tar -xzf ssljax.tar.gz -C ssljax \
&& pip install -q uv && python3 -m uv venv -q --allow-existing --python 3.12 env \
&& python3 -m uv pip install -q --python env -e 'ssljax[tpu]' \
&& (mountpoint -q runs || gcsfuse --implicit-dirs ${BUCKET#gs://} runs)"
}

train() {
  local flags
  flags="$(printf '%q ' "$@")"
  everywhere "cd ssljax && ../env/bin/python -m ssljax.main ${flags}--workdir=../runs/$RUN"
}

archive="$(mktemp -d)/ssljax.tar.gz"
if [[ -n "$dry" ]]; then archive=ssljax.tar.gz; fi

for ((try = 1; ; try++)); do
  status=0
  { prepare && train "$@"; } || status=$?
  if ((status == 0)); then break; fi
  # A run that was asked to stop (75) is about to lose its VM, and ssh has lost
  # its connection (255); otherwise the run ended by itself, and would again.
  if ((status != 75 && status != 255)) && [[ "$(state)" == READY ]]; then
    echo "The run ended with status $status; $VM is kept." >&2
    exit "$status"
  fi
  if ((try >= TRIES)); then
    echo "$VM was lost $try times; the same command goes on." >&2
    exit 75
  fi
  echo "Lost $VM; it is found or made in $PAUSE s, and the run goes on." >&2
  sleep "$PAUSE"
done

run mkdir -p "$OUT"
run gcloud storage cp --recursive "$BUCKET/$RUN" "$OUT"
if [[ -z "$KEEP" ]]; then tpu delete --quiet; fi
