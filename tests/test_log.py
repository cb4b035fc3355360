"""What a run tells is complete, not doubled, and readable by others."""

import errno
import io
import json
import math
import os
import pty
import re
import resource
import subprocess
import sys
import termios
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from logged import events
from PIL import Image

from ssljax import bars, durable
from ssljax.log import Log, ended
from ssljax.records import read_json, write_json
from ssljax.reports.tables import table


def metrics(directory):
  lines = (directory / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_scalars(tmp_path):
  with Log(tmp_path, name='pretrain', total=20) as one:
    one.scalars(10, {'loss': jnp.float32(0.5), 'retrieval': np.float64(0.25)})
    # Before it is closed, too: a killed run keeps its lines.
    assert [line['step'] for line in metrics(tmp_path)] == [10]
    one.scalars(20, {'loss': 0.125})
  first, second = metrics(tmp_path)
  assert list(first) == ['step', 'seconds', 'loss', 'retrieval']
  assert (first['loss'], first['retrieval']) == (0.5, 0.25)
  assert (second['step'], second['loss']) == (20, 0.125)
  assert 0 <= first['seconds'] <= second['seconds'] < 10
  scalars = [
    (event.step, value.tag, value.simple_value)
    for event in events(tmp_path)
    for value in event.summary.value
  ]
  assert scalars == [
    (line['step'], name, pytest.approx(value))
    for line in (first, second)
    for name, value in line.items()
    if name != 'step'
  ]


def _told(directory):
  """What TensorBoard shows: (step, name) -> a number, or a picture."""
  found = {}
  for event in events(directory):
    for value in event.summary.value:
      shown = value.simple_value
      if value.HasField('image'):
        with Image.open(io.BytesIO(value.image.encoded_image_string)) as image:
          shown = np.asarray(image)
      found[event.step, value.tag] = shown
  return found


def test_tensorboard_shows_what_the_folder_holds(tmp_path):
  """Every line, picture and figure of a stage, its sheet of readings too."""
  with Log(tmp_path, name='pretrain', total=20) as one:
    for step in (10, 20):
      one.scalars(step, {'loss': 1 / step, 'bad': math.nan})
      one.picture(step, NOISE)
  write_json(
    tmp_path / 'stage.json',
    {
      'steps': 20,
      'test': {'exact_match': 0.5, 'low': None},
      'calibration': {'from': 'validation'},
      'alarms': ['text'],
    },
  )
  Image.fromarray(NOISE[:9]).save(tmp_path / 'sheet.png')
  ended(tmp_path)
  wanted = {
    (20, 'end/steps'): 20,
    (20, 'end/test/exact_match'): 0.5,
    (20, 'sheet'): NOISE[:9],
  }
  for line in metrics(tmp_path):
    assert line.pop('bad') is None
    step = line.pop('step')
    wanted |= {(step, name): value for name, value in line.items()}
    with Image.open(tmp_path / 'pictures' / f'{step:07}.png') as image:
      wanted[step, 'task'] = np.asarray(image)
  found = _told(tmp_path)
  assert found.keys() == wanted.keys()
  for name, value in wanted.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-6)


def refuse(name):
  raise AssertionError(f'{name} is no JSON')


def test_what_is_not_finite_is_null(tmp_path, caplog, capfd):
  with Log(tmp_path, name='pretrain', total=1) as one:
    one.scalars(1, {'a': math.nan, 'b': -math.inf, 'c': 1})
  (line,) = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  entry = json.loads(line, parse_constant=refuse)
  assert (entry['a'], entry['b'], entry['c']) == (None, None, 1)
  assert not caplog.records
  assert 'NaN' not in capfd.readouterr().err


def write(directory, steps, *, start=0):
  with Log(directory, name='pretrain', total=99, start=start) as one:
    for step in steps:
      one.scalars(step, {'loss': step + start / 100})


def test_a_resumed_run_repeats_no_step(tmp_path):
  write(tmp_path, [10, 20, 30])
  write(tmp_path, [20, 30], start=10)  # the save at 10 was the last complete
  assert [(line['step'], line['loss']) for line in metrics(tmp_path)] == [
    (10, 10),
    (20, 20.1),
    (30, 30.1),
  ]
  # TensorBoard is told so by an event that purges the steps from 11 on.
  purges = [
    event.step for event in events(tmp_path) if event.HasField('session_log')
  ]
  assert purges == [0, 11]


def test_a_run_that_starts_afresh_keeps_nothing(tmp_path):
  write(tmp_path, [0, 10])
  write(tmp_path, [0])
  assert [line['step'] for line in metrics(tmp_path)] == [0]


def test_time_goes_on_from_the_last_line_kept(tmp_path):
  lines = [
    {'step': 10, 'seconds': 100.0},
    {'step': 20, 'seconds': 200.0},
  ]
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (tmp_path / 'metrics.jsonl').write_text(text)
  write(tmp_path, [11], start=10)
  assert 100 <= metrics(tmp_path)[-1]['seconds'] < 110


@pytest.mark.parametrize(
  'torn',
  [
    b'{"step": 3',
    b'{"step": 20, "a": "\xc3',
    b'{"step": 20, "seconds": 1.0}',  # only the newline is missing
  ],
)
def test_a_line_torn_by_a_kill_is_dropped(tmp_path, torn):
  write(tmp_path, [10])
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(path.read_bytes() + torn)
  write(tmp_path, [30], start=20)
  assert [line['step'] for line in metrics(tmp_path)] == [10, 30]


def test_dropping_lines_is_atomic(tmp_path, monkeypatch):
  write(tmp_path, [10, 20])
  before = (tmp_path / 'metrics.jsonl').read_bytes()

  def killed(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(os, 'replace', killed)
  with pytest.raises(KeyboardInterrupt):
    write(tmp_path, [], start=10)
  assert (tmp_path / 'metrics.jsonl').read_bytes() == before


def test_a_window_that_a_stop_cuts_goes_on(tmp_path):
  """Bit for bit, whatever was averaged; only from the step that it is of."""
  third = np.float32(1) / 3
  window = [
    {'loss': third, 'count': np.int32(7)},
    {'loss': np.float32([third, 1e-30]), 'count': np.int32([1, 2])},
  ]
  with Log(tmp_path, name='pretrain', total=20) as one:
    assert one.kept() == []
    one.keep(6, window)
  with Log(tmp_path, name='pretrain', total=20, start=6) as one:
    kept = one.kept()
    assert len(kept) == 2
    for found, expected in zip(kept, window, strict=True):
      for name, value in expected.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value, strict=False)
    one.keep(9, [*kept, {'loss': third, 'count': np.int32(0)}])
  # The checkpoint of step 9 may never be complete.
  for start, count in ((9, 3), (6, 2), (5, 0)):
    with Log(tmp_path, name='pretrain', total=20, start=start) as one:
      assert len(one.kept()) == count


def test_lines_where_there_is_no_terminal(tmp_path, capfd, monkeypatch):
  monkeypatch.setattr(bars, '_LINE_SECONDS', 0.0)
  with Log(tmp_path, name='pretrain', total=8, start=2) as one:
    one.advance(4)
    one.scalars(4, {'loss': 0.5, 'retrieval': 0.25, 'other': 7})
    one.note('a note')
    one.advance(6, 7200.0)
    one.advance(8)
  captured = capfd.readouterr()
  assert captured.out == ''  # the results' own
  assert '\r' not in captured.err
  lines = captured.err.splitlines()
  assert lines[0].startswith('pretrain: 2/8 steps (25%)')
  assert lines[1].startswith('pretrain: 4/8 steps (50%)')
  assert lines[2] == 'a note'
  assert re.fullmatch(
    r'pretrain: 6/8 steps \(75%\), [\d.,]+/s, 1 s left, run 2.0 h, '
    r'loss=0.5, retrieval=0.25',
    lines[3],
  )
  assert lines[-1].startswith('pretrain: 8/8 steps (100%)')
  assert 'took 1 s' in lines[-1]


def test_the_first_step_which_compiles_tells_no_speed():
  now = 100.0
  with bars.bar('pretrain', 42, unit='step') as one:
    one.start_t, one._time = 0.0, lambda: now
    one.n = 2
    assert one.format_dict['told'] == 'starting'
    now, one.n, one.later = 110.0, 22, 110.0
    assert one.format_dict['told'] == '2/s, 10 s left, run 2 min'
    now, one.later = 142.0, None
    assert one.format_dict['told'] == '2.1 s each, 42 s left'
    one.n = 42
    assert one.format_dict['told'] == '1.05 s each, took 2 min'


def test_lines_come_every_few_seconds_only(tmp_path, capfd):
  with Log(tmp_path, name='pretrain', total=1000) as one:
    for step in range(1000):
      one.advance(step + 1)
  assert len(capfd.readouterr().err.splitlines()) == 2  # the first, the last


def test_lines_keep_coming_where_steps_become_slow(
  tmp_path, capfd, monkeypatch
):
  monkeypatch.setattr(bars, '_LINE_SECONDS', 0.05)
  with Log(tmp_path, name='pretrain', total=1_000_000) as one:
    step, fast = 0, time.perf_counter() + 0.2
    while time.perf_counter() < fast:
      one.advance(step := step + 1)
    before = len(capfd.readouterr().err.splitlines())
    for _ in range(4):
      time.sleep(0.06)
      one.advance(step := step + 1)
    assert len(capfd.readouterr().err.splitlines()) == 4
  assert before > 1


def test_a_stage_without_steps_draws_no_bar(tmp_path, capfd):
  with Log(tmp_path, name='test', total=0) as one:
    one.scalars(0, {'loss': 1.0})
    one.advance(0)
    one.note('a note')
  assert capfd.readouterr().err == 'a note\n'
  assert [line['step'] for line in metrics(tmp_path)] == [0]


ON_A_TERMINAL = """
import sys, time
from ssljax.log import Log, ended

with Log(sys.argv[1], name='pretrain', total=3) as one:
  for step in range(1, 4):
    time.sleep(0.15)
    one.scalars(step, {'loss': 0.25})
    one.advance(step, 720.0)
    if step == 2:
      one.note('a note')
"""


@pytest.mark.parametrize('columns', [80, 0])
def test_on_a_terminal(tmp_path, columns):
  ours, theirs = pty.openpty()
  if columns:
    termios.tcsetwinsize(theirs, (24, columns))
  with subprocess.Popen(
    [sys.executable, '-c', ON_A_TERMINAL, str(tmp_path)],
    stdout=subprocess.DEVNULL,
    stderr=theirs,
  ):
    os.close(theirs)
    text = b''
    while True:
      try:
        text += os.read(ours, 4096)
      except OSError as error:  # how Linux says that the other side is closed
        assert error.errno == errno.EIO
        break
  os.close(ours)
  text = text.decode()
  if columns:
    assert re.search(
      r'\rpretrain: 100%\|█{20,}\| [\d.]+/s, took 1 s, loss=0.25', text
    )
    # All of it has room on 80 columns, the time that is left included.
    assert re.search(
      r'\rpretrain:  67%\|█+.*\| [\d.]+/s, 1 s left, run 12 min, loss=0.25',
      text,
    )
    assert re.search(r'\r +\ra note\r\n', text)  # not on the bar's line
  else:  # a terminal that does not know its size
    assert '\r\npretrain: 3/3 steps (100%)' in text


def test_other_processes_say_nothing(tmp_path, capfd, monkeypatch):
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  with Log(tmp_path / 'stage', name='pretrain', total=1) as one:
    one.scalars(1, {'loss': 0.5})
    one.advance(1)
    one.note('a note')
  write_json(tmp_path / 'results.json', {})
  assert not list(tmp_path.iterdir())
  assert capfd.readouterr() == ('', '')


def test_table():
  rows = [
    ['a|b', 0.5, 3, None],
    ['SimCLR + finetune', np.float32(0.25), 20, math.nan],
  ]
  assert table(rows, ['method', 'exact match', 'steps', 'x']) == '\n'.join(
    [
      '| method            | exact match | steps |   x |',
      '| ----------------- | ----------: | ----: | --: |',
      r'| a\|b              |       0.500 |     3 |   - |',
      '| SimCLR + finetune |       0.250 |    20 | nan |',
    ]
  )
  assert table([], ['a']) == '| a   |\n| --- |'
  with pytest.raises(ValueError, match=r"1 cells under 2 headers: \['a'\]"):
    table([['a']], ['x', 'y'])


def test_write_json(tmp_path):
  path = tmp_path / 'new' / 'results.json'
  found = {
    'z': np.float32(0.5),
    'a': [jnp.arange(2), (1, math.nan)],
    'ключ': {3: True, 'none': None},
  }
  write_json(path, found)
  text = path.read_text(encoding='utf-8')
  assert read_json(path) == {
    'z': 0.5,
    'a': [[0, 1], [1, None]],
    'ключ': {'3': True, 'none': None},
  }
  assert list(json.loads(text, parse_constant=refuse)) == ['z', 'a', 'ключ']
  assert 'ключ' in text
  assert text.startswith('{\n  "z": 0.5,\n')
  assert text.endswith('}\n')
  assert os.listdir(path.parent) == ['results.json']


def test_write_json_leaves_the_old_file_where_it_fails(tmp_path):
  path = tmp_path / 'results.json'
  write_json(path, {'a': 1})
  with pytest.raises(TypeError, match='not JSON serializable'):
    write_json(path, {'a': 1, 'b': {1, 2}})
  assert read_json(path) == {'a': 1}


def test_a_full_disk_ends_the_run_and_not_only_its_board(tmp_path):
  """The thread that writes the board would die, and the run wait for it."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  try:
    with (
      pytest.raises(durable.CannotWrite, match=r'tensorboard .*ulimit'),
      Log(tmp_path, name='a', total=99) as log,
    ):
      resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
      for step in range(99):
        # A picture is larger than what the board may still write.
        log._board.add_image('a', NOISE, step, dataformats='HWC')
        log._board.flush()
        log.scalars(step, {'loss': 1.0})
        time.sleep(0.01)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
