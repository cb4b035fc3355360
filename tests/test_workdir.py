"""Run folders: whose they are, where parts come from, and what they cost."""

import hashlib
import json
import pathlib

import pytest
from ml_collections import ConfigDict

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
  # A stage or a long list would fill the screen.
  changed = {'seed': 0, 'layouts': ('arcs',) * 99, 'other': {'steps': 4}}
  with pytest.raises(UserError) as caught:
    workdir.check_claim(tmp_path, changed)
  assert 'config.stage: 1 values there, None here' in str(caught.value)
  assert "'arcs', ... here" in str(caught.value)
  (tmp_path / 'config.json').rename(tmp_path / 'notes.txt')
  with pytest.raises(UserError, match=r'no config\.json'):
    workdir.check_claim(tmp_path, config)


def test_a_start_that_ended_before_the_config_goes_on(tmp_path):
  """A kill between the two files would otherwise block the folder."""
  facts = {'images': {'count': 3, 'digest': 'a'}}
  workdir.claim(tmp_path, {'seed': 0}, facts)
  (tmp_path / 'config.json').unlink()
  workdir.claim(tmp_path, {'seed': 0}, facts)
  assert (tmp_path / 'config.json').exists()


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


def _own(directory, **data):
  """The config of a run on a folder of the user's."""
  return {
    'scale': 'smoke',
    'recipe': ('pretrain', 'head'),
    'data': {'directory': str(directory), 'contents': '', **data},
    'head': {'take': {'encoder': 'pretrain'}},
    'rows': [[f'the labels of {directory}', 'head', ['head']]],
  }


def _spellings(tmp_path, monkeypatch):
  """One folder, as people write its path."""
  (tmp_path / 'own').mkdir()
  (tmp_path / 'link').symlink_to('own')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path))
  return ['own', './own/', 'link', '~/own', f'{tmp_path}/own', 'own/../own']


def test_the_name_of_a_run_is_of_the_folder_and_not_of_its_spelling(
  tmp_path, monkeypatch
):
  spellings = _spellings(tmp_path, monkeypatch)

  def name(directory, take='pretrain'):
    config = ConfigDict(_own(directory))
    config.head.take.encoder = take
    return str(workdir.name_of(config, 'simclr_ocr'))

  assert len({name(each) for each in spellings}) == 1
  assert name('other') != name('own')
  assert name('own', take='link') == name('own', take=f'{tmp_path}/own')
  assert name('own', take='other') != name('own', take='link')


def test_the_name_of_a_run_without_paths_is_what_it_was():
  """Runs that began before paths were resolved go on."""
  config = ConfigDict({'scale': 'smoke', 'seed': 1, 'recipe': ('pretrain',)})
  text = json.dumps(config.to_dict(), sort_keys=True)
  digest = hashlib.sha256(text.encode()).hexdigest()[:8]
  assert workdir.name_of(config, 'a') == pathlib.Path(f'runs/a-smoke-{digest}')


@pytest.mark.parametrize('contents', ['', 'c72'])
def test_a_folder_by_another_spelling_is_the_same(
  tmp_path, monkeypatch, contents
):
  first, *others = _spellings(tmp_path, monkeypatch)
  run = tmp_path / 'run'
  workdir.claim(run, _own(first, contents=contents))
  for each in others:
    workdir.check_claim(run, _own(each, contents=contents))
  # What is in the folder decides, so a folder may be moved.
  if contents:
    workdir.check_claim(run, _own('elsewhere', contents=contents))
  else:
    with pytest.raises(UserError, match=r'config\.data\.directory'):
      workdir.check_claim(run, _own('elsewhere'))


def _facts(images, labels):
  return {
    'images': {'count': images, 'digest': f'i{images}'},
    'labels': {'count': abs(labels), 'digest': f'l{labels}'},
  }


@pytest.mark.parametrize(
  ('facts', 'lines'),
  [
    (_facts(80, 45), ['labels: 30 there, 45 here']),
    (
      _facts(81, 31),
      ['images: 80 there, 81 here', 'labels: 30 there, 31 here'],
    ),
    (_facts(80, -30), ['labels: 30 there, 30 here, and not the same']),
    (
      _facts(80, 30),
      ['images: as many as before, but some of their files changed'],
    ),
  ],
)
def test_a_changed_folder_is_told_by_what_has_changed(tmp_path, facts, lines):
  run = tmp_path / 'run'
  before = _own('own', contents='a', charset='01')
  workdir.claim(run, before, _facts(80, 30))
  workdir.claim(run, before, _facts(80, 30))  # goes on
  after = _own('own', contents='b', charset='012')
  with pytest.raises(workdir.DataChanged) as caught:
    workdir.claim(run, after, facts)
  told = [line.strip() for line in str(caught.value).splitlines()]
  followed = "config.data.charset: '01' there, '012' here"
  assert told[1:-1] == [*lines, followed]


def test_a_run_from_before_data_json_says_that_its_data_changed(tmp_path):
  run = tmp_path / 'run'
  workdir.claim(run, _own('own', contents='a'))
  with pytest.raises(workdir.DataChanged, match='images or labels: others'):
    workdir.check_claim(run, _own('own', contents='b'), _facts(80, 30))


def test_corrections_are_labels_that_changed(tmp_path):
  run = tmp_path / 'run'
  workdir.claim(run, _own('own', contents='a'), _facts(80, 30))
  after = _own('own', contents='b', labels='corrections.csv')
  with pytest.raises(workdir.DataChanged, match='labels: 30 there, 33 here'):
    workdir.check_claim(run, after, _facts(80, 33))


def test_another_config_on_changed_data_is_another_config(tmp_path):
  run = tmp_path / 'run'
  workdir.claim(run, _own('own', contents='a'), _facts(80, 30))
  other = _own('own', contents='b') | {'scale': 'laptop'}
  with pytest.raises(UserError, match=r"scale: 'smoke' there, 'l") as caught:
    workdir.check_claim(run, other, _facts(80, 31))
  assert not isinstance(caught.value, workdir.DataChanged)


def test_what_a_dry_run_leaves_bars_no_run(tmp_path):
  for name in workdir.EARLY:
    (tmp_path / name).write_text('')
  workdir.claim(tmp_path, {'seed': 0})


def test_what_is_kept_is_no_part_of_a_run(tmp_path):
  """Runs of earlier versions do not say it, and a run may change it."""
  config = {'seed': 0, 'recipe': ()}
  workdir.claim(tmp_path, config)
  workdir.check_claim(tmp_path, config | {'keep': 5, 'keep_best': 100})
  named = [
    workdir.name_of(ConfigDict({'seed': 0, 'scale': 'smoke', **more}), 'a')
    for more in ({}, {'keep': 5}, {'keep_best': 100})
  ]
  assert len(set(named)) == 1


@pytest.mark.parametrize(
  'text', ['[1]', '{"model_type": "bert"}', '{"recipe": ["a"], "a": 1}']
)
def test_a_config_of_another_program_is_no_run(tmp_path, text):
  (tmp_path / 'config.json').write_text(text)
  with pytest.raises(UserError, match=r'no recipe .*config\.json'):
    workdir.locate(tmp_path / 'here', (), str(tmp_path))


@pytest.mark.parametrize('name', ['../x', '/x', '..', 'a/b'])
def test_a_stage_that_leads_out_of_its_run_is_refused(tmp_path, name):
  config = {'recipe': [name], name: {'take': {}}}
  (tmp_path / 'config.json').write_text(json.dumps(config))
  with pytest.raises(
    UserError, match='expected names of folders in the folder'
  ):
    workdir.recipe_of(tmp_path)
