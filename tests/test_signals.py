"""What a signal does to a process, in each part of a command."""

import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def interruptible():
  """A shell that starts the tests in the background lets them ignore Ctrl-C."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


# Ends as `main` does; `send` asks for a signal, of which Python then tells.
BEGIN = """
import os, signal, sys, time
from ssljax import signals
def send(number=signal.SIGTERM):
  os.kill(os.getpid(), number)
signals.end_at_once()
"""
COMMAND = """
try:
  with signals.handled() as stop:
{body}
except signals.Stopped as stopped:
  print(stopped, file=sys.stderr)
  sys.exit(signals.STOPPED)
print('done')
"""
DEFERRED = """
with signals.deferred():
  send()
  print('saved', stop(), flush=True)
print('more')
"""
SWALLOWED = """
try:
  send()
except Exception:
  print('swallowed')
"""
CLEANED = """
try:
  send()
finally:
  print('cleaned', flush=True)
"""
ECHO = """
with signals.deferred():
  send()
  send(signal.SIGINT)
  print('saved')
"""
AGAIN = """
with signals.deferred():
  send()
  time.sleep(1.1)
  send(signal.SIGINT)
  print('saved')
"""
HANGING = """
signals._PATIENCE = 0.1
try:
  send()
finally:
  time.sleep(30)
"""
NESTED = """
with signals.deferred():
  with signals.deferred():
    send()
  print('saved', flush=True)
"""


def _run(body, *, command=True):
  if command:
    body = COMMAND.format(body=body.replace('\n', '\n    '))
  done = subprocess.run(
    [sys.executable, '-c', BEGIN + body],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert 'Traceback' not in done.stderr, done.stderr
  return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
  ('body', 'status', 'out'),
  [
    (CLEANED, 75, 'cleaned\n'),
    (SWALLOWED, 75, ''),
    (DEFERRED, 75, 'saved True\n'),
    (NESTED, 75, 'saved\n'),
    (ECHO, 75, 'saved\n'),
    (AGAIN, -signal.SIGINT, ''),
    (HANGING, 75, ''),
    ('\npass', 0, 'done\n'),
  ],
  ids=[
    *('at once', 'past a handler of errors', 'deferred', 'nested'),
    *('two at once', 'a second one', 'hanging', 'none'),
  ],
)
def test_a_signal_to_a_command(body, status, out):
  found, printed, said = _run(body)
  assert (found, printed) == (status, out)
  if status:
    assert said.startswith('\nStopping')
  if body == DEFERRED:
    assert 'saving the state' in said


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_before_and_after_a_signal_ends_the_process(number):
  """Without a traceback, and with the status that a shell knows of it."""
  assert _run(f'send({int(number)})', command=False) == (-number, '', '')
  after = f'with signals.handled(): pass\nsend({int(number)})'
  assert _run(after, command=False) == (-number, '', '')


def test_an_interrupt_that_nobody_wants_is_left_alone():
  """A shell's background job ignores Ctrl-C, and goes on doing so."""
  body = 'signal.signal(signal.SIGINT, signal.SIG_IGN)\n'
  body += 'signals.end_at_once()\nwith signals.interruptible():\n'
  assert _run(f'{body}  send(signal.SIGINT)\nprint(1)', command=False)[0] == 0


def test_interruptible_code_can_tidy_up():
  body = 'with signals.interruptible():\n  try:\n    send(signal.SIGINT)\n'
  body += '  except KeyboardInterrupt:\n    print("tidy", flush=True)\n'
  found = _run(f'{body}send(signal.SIGINT)', command=False)
  assert found == (-signal.SIGINT, 'tidy\n', '')


@pytest.mark.parametrize('command', ['main', 'recognize', 'review'])
def test_an_interrupt_while_importing(command, tmp_path):
  """As soon as the package is imported, which is the first second."""
  with subprocess.Popen(
    [sys.executable, '-X', 'importtime', '-m', f'ssljax.{command}', 'a', 'b'],
    cwd=ROOT,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stderr is not None
    # The line of an import is printed after it.
    for line in process.stderr:
      if line.split('|')[-1].strip() == 'ssljax.signals':
        break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
  assert process.returncode == -signal.SIGINT
  assert 'Traceback' not in said and 'ssljax.reader ' not in said
