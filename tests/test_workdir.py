"""Run folders: whose they are, where parts come from, and what they cost."""

import pytest

from ssljax import workdir
from ssljax.errors import UserError
from ssljax.records import write_json


def _run(path, **takes):
  """A finished run: each stage with what it takes, 1, 10, 100, ... FLOPs."""
  config = {'recipe': list(takes)}
  for place, (name, take) in enumerate(takes.items()):
    config[name] = {'take': take}
    write_json(path / name / 'stage.json', {'flops': 10**place})
  write_json(path / 'config.json', config)
  return path


def test_a_part_within_the_run(tmp_path):
  folder = _run(tmp_path, a={}, b={'encoder': 'a'})
  for stage in 'ab':
    assert workdir.locate(folder, ('a', 'b'), stage) == tmp_path / stage


def test_another_run_is_its_first_stage_or_one_that_is_named(tmp_path):
  there = _run(tmp_path / 'there', a={}, b={'encoder': 'a'})
  here = _run(tmp_path / 'here', c={'encoder': str(there)})
  assert workdir.locate(here, ('c',), str(there)) == there / 'a'
  assert workdir.locate(here, ('c',), str(there / 'b')) == there / 'b'


def test_a_stage_costs_what_it_rests_on_over_runs_too(tmp_path):
  there = _run(tmp_path / 'there', a={}, b={'encoder': 'a'}, x={})
  here = _run(
    tmp_path / 'here',
    c={'encoder': str(there / 'b')},
    d={'encoder': 'c', 'head': 'c'},
  )
  assert workdir.flops(there / 'b') == 1 + 10
  assert workdir.flops(here / 'c') == 1 + (1 + 10)
  # What two parts share is paid once.
  assert workdir.flops(here / 'd') == 10 + 1 + (1 + 10)


def test_what_is_not_there(tmp_path):
  folder = _run(tmp_path, a={})
  with pytest.raises(UserError, match=r"Found 'b' to take .*recipe \(a\)"):
    workdir.locate(folder, ('a',), 'b')
  with pytest.raises(UserError, match=r"'b'.*expected one of a"):
    workdir.locate(folder, ('a',), str(tmp_path / 'b'))
  (tmp_path / 'a' / 'stage.json').unlink()
  with pytest.raises(UserError, match='unfinished'):
    workdir.locate(folder, ('a',), str(tmp_path / 'a'))


def test_a_folder_of_another_config_is_refused(tmp_path):
  config = {'seed': 0, 'layouts': ('arcs',), 'stage': {'steps': 3}}
  workdir.claim(tmp_path, config)
  workdir.claim(tmp_path, config)  # the same run goes on
  changed = config | {'stage': {'steps': 4}}
  with pytest.raises(UserError, match=r'stage\.steps: 3 there, 4 here'):
    workdir.check_claim(tmp_path, changed)
  (tmp_path / 'config.json').rename(tmp_path / 'notes.txt')
  with pytest.raises(UserError, match=r'no config\.json'):
    workdir.check_claim(tmp_path, config)


def test_the_best_is_chosen_on_validation(tmp_path):
  """Not on the test images, where another stage is better."""
  for name, validation, test in (
    ('slow', 0.3, 1.0), ('middle', 0.5, 0.0), ('fast', 0.5, 1.0)
  ):  # fmt: skip
    figures = {
      'validation': {'edit_distance_accuracy': validation},
      'test': {'edit_distance_accuracy': test},
      'fit': {'edit_distance_accuracy': test},
    }
    write_json(tmp_path / name / 'stage.json', figures)
  folders = [tmp_path / name for name in ('slow', 'middle', 'fast')]
  assert workdir.best_on_validation(folders) == tmp_path / 'middle'
