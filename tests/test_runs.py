"""Where parts come from, within a run and from another one."""

import pytest

from ssljax import runs
from ssljax.errors import UserError
from ssljax.records import write_json


def _run(path, **takes):
  """A finished run: each stage with what it takes, 1, 10, 100, ... FLOPs."""
  config = {'recipe': list(takes)}
  for place, (name, take) in enumerate(takes.items()):
    config[name] = {'take': take}
    write_json(path / name / 'stage.json', {'flops': 10**place})
  write_json(path / 'config.json', config)
  return runs.Place(config, path, next(iter(takes)))


def test_a_part_within_the_run(tmp_path):
  place = _run(tmp_path, a={}, b={'encoder': 'a'})
  assert runs.locate(place, 'a') == place
  assert runs.locate(place, 'b').folder == tmp_path / 'b'


def test_another_run_is_its_first_stage_or_one_that_is_named(tmp_path):
  there = _run(tmp_path / 'there', a={}, b={'encoder': 'a'})
  here = _run(tmp_path / 'here', c={'encoder': str(there.workdir)})
  assert runs.locate(here, str(there.workdir)) == there
  found = runs.locate(here, str(there.workdir / 'b'))
  assert found == there._replace(stage='b')


def test_a_stage_costs_what_it_rests_on_over_runs_too(tmp_path):
  there = _run(tmp_path / 'there', a={}, b={'encoder': 'a'}, x={})
  here = _run(
    tmp_path / 'here',
    c={'encoder': str(there.workdir / 'b')},
    d={'encoder': 'c', 'head': 'c'},
  )
  assert runs.flops(there._replace(stage='b')) == 1 + 10
  assert runs.flops(here) == 1 + (1 + 10)
  # What two parts share is paid once.
  assert runs.flops(here._replace(stage='d')) == 10 + 1 + (1 + 10)


def test_what_is_not_there(tmp_path):
  place = _run(tmp_path, a={})
  with pytest.raises(UserError, match=r"Found 'b' to take .*recipe \(a\)"):
    runs.locate(place, 'b')
  with pytest.raises(UserError, match=r"'b'.*expected one of a"):
    runs.locate(place, str(tmp_path / 'b'))
  (tmp_path / 'a' / 'stage.json').unlink()
  with pytest.raises(UserError, match='unfinished'):
    runs.locate(place, str(tmp_path / 'a'))
