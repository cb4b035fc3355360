"""Runs `python -m ssljax.main FLAGS`, watched or stopped at a chosen step.

  python tests/driver.py '{"stage": "pretrain", "step": 5, "signal": "SIGKILL"}'
    --config=...

The signal is sent by the process itself, right after the step was started (or,
for step 0, while it is being compiled), so a test is not a race. With
{"record": PATH}, what was compiled and donated is written there. With
{"break": "data"} or {"break": "key"}, a resumed stage begins its data anew or
draws another key: what the kill test must notice.
"""

import collections
import json
import os
import runpy
import signal
import sys

import jax

sys.path.insert(0, os.getcwd())  # as `python -m` does

from ssljax import parallel, train  # noqa: E402

wanted = json.loads(sys.argv[1])
stages = []
record = collections.defaultdict(
  lambda: {'traces': 0, 'compilations': 0, 'donated': []}
)
run_stage, compile_step = train.run_stage, parallel.compile_step
