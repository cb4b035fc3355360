"""The tables, from hand-made predictions whose figures are known."""

import csv
import dataclasses
import pathlib
import runpy

import numpy as np
import pytest

from ssljax.records import write_json
from ssljax.reports import readings, telemetry

SCRIPTS = pathlib.Path(__file__).parent.parent / 'docs' / 'draw'
LABELS = ('1111', '2222', '3333', '4444')
LAYOUTS = ('arcs', 'arcs', 'hollow', 'colors')
SPLITS = ('test',) * 4


@dataclasses.dataclass
class Run:
  """A finished run, of which only what the tables read is written."""

  workdir: object
  stages: dict = dataclasses.field(default_factory=dict)

  def add(
    self,
    name,
    guesses,
    *,
    fit=1.0,
    flops=1e12,
    take=None,
    splits=SPLITS,
    confidence=None,
    times=1,
    **other,
  ):
    folder = self.workdir / name
    folder.mkdir()
    self.stages[name] = {'take': take or {}}
    with (folder / 'predictions.csv').open('w', newline='') as file:
      columns = {
        'split': splits,
        'layout': LAYOUTS,
        'label': LABELS,
        'prediction': guesses,
      }
      if confidence:  # earlier versions have none
        files = [f'{place}.png' for place in range(len(guesses))]
        columns = {'file': files} | columns | {'confidence': confidence}
        other |= {'calibration': {'temperature': 1.25, 'from': 'validation'}}
      rows = csv.writer(file)
      rows.writerow(columns)
      each = zip(*columns.values(), strict=True)
      rows.writerows(list(each) * times)
    summary = {
      'labels': 500,
      'learning_rate': 1e-3,
      'flops': flops,
      'fit': {'edit_distance_accuracy': fit},
      'validation': {'edit_distance_accuracy': fit},
    }
    write_json(folder / 'stage.json', summary | other)

  def results(self, rows, **config):
    described = {'recipe': list(self.stages), **self.stages}
    write_json(self.workdir / 'config.json', described)
    return readings.results(self.workdir, rows=rows, **config)


@pytest.fixture
def run(tmp_path):
  return Run(tmp_path)


RIGHT = LABELS
HALF = ('11', '22', '33', '44')  # an edit-distance accuracy of 0.5 everywhere
FIRST = ('1111', '', '', '')


def _value(found, group='test', figure='edit_distance_accuracy'):
  return found['figures'][group][figure]['value']


def test_figures_of_a_row(run):
  run.add('a', ('1111', '222', '33', '55555'))
  found = run.results([('few', 'A', ('a',))])
  row = found['few']['rows']['A']
  # 1, 3/4, 2/4 and 1 - 5/4: the mean of samples, which may be negative.
  assert _value(row) == pytest.approx((1 + 0.75 + 0.5 - 0.25) / 4)
  assert _value(row, figure='exact_match') == 0.25
  # Σd / Σlen, not a mean of rates.
  assert _value(row, figure='character_error_rate') == (0 + 1 + 2 + 5) / 16
  assert _value(row, 'arcs') == 0.875
  assert _value(row, 'hollow') == 0.5
  assert _value(row, 'colors') == -0.25
  assert [row['figures'][g]['count'] for g in ('test', 'arcs', 'hollow')] == [
    4, 2, 1
  ]  # fmt: skip
  assert row['labels'] == 500


def test_layouts_with_and_without_labels(run):
  run.add('a', ('1111', '222', '33', '55555'))
  found = run.results(
    [('part', 'A', ('a',)), ('every', 'A', ('a',))],
    labelled_layouts={'part': ('arcs', 'colors')},
  )
  row = found['part']['rows']['A']
  assert list(row['figures']) == [
    'test', 'labelled layouts', 'unlabelled layouts', 'arcs', 'colors', 'hollow'
  ]  # fmt: skip
  assert _value(row, 'labelled layouts') == pytest.approx(1.5 / 3)
  assert row['figures']['labelled layouts']['count'] == 3
  assert _value(row, 'unlabelled layouts') == 0.5
  assert row['figures']['unlabelled layouts']['count'] == 1
  # Only the label set that is named has these groups.
  assert 'labelled layouts' not in found['every']['rows']['A']['figures']


def test_a_difference_is_paired_image_by_image(run):
  # Of very uneven difficulty, but everywhere a is 0.25 above b: paired, the
  # interval is a point; as two intervals it would be as wide as the values.
  run.add('a', ('1111', '2222', '3', '4'))
  run.add('b', ('111', '222', '', ''))
  run.add('c', ('1111', '22', '3333', ''))
  found = run.results(
    [('few', name.upper(), (name,)) for name in 'abc'],
    differences=(('A', 'B'), ('A', 'C'), ('A', 'elsewhere')),
  )['few']['differences']
  assert list(found) == ['A - B', 'A - C']
  every = found['A - B']['test']
  assert every['value'] == every['low'] == every['high'] == 0.25
  # 0, +0.5, -0.75, +0.25
  every = found['A - C']['test']
  assert every['value'] == pytest.approx(0.0)
  assert -0.75 <= every['low'] < 0 < every['high'] <= 0.5
  assert found['A - C']['arcs']['value'] == 0.25
  assert found['A - C']['hollow']['value'] == -0.75


def test_seeds_are_averaged_and_stand_beside_it(run):
  run.add('a0', RIGHT, flops=1e12, times=3)
  run.add('a1', HALF, fit=0.95, flops=3e12, times=3)
  run.add('b0', HALF, times=3)
  run.add('b1', HALF, times=3)
  found = run.results(
    [('few', 'A', ('a0', 'a1')), ('few', 'B', ('b0', 'b1'))],
    differences=(('A', 'B'),),
  )
  row = found['few']['rows']['A']
  every = row['figures']['test']['edit_distance_accuracy']
  assert every['value'] == 0.75
  assert every['by_seed'] == [1.0, 0.5]
  # The interval is over images, which do not differ here.
  assert every['low'] == every['high'] == 0.75
  assert row['fit'] == [1.0, 0.95]
  assert row['flops'] == 2e12  # of one seed
  difference = found['few']['differences']['A - B']['test']
  assert difference['by_seed'] == [0.5, 0.0]
  text = readings.render(found)
  assert f'± {np.std([1.0, 0.5], ddof=1):.3f}' in text


@pytest.mark.parametrize(('fit', 'fitted'), [(0.9, True), (0.899, False)])
def test_a_row_that_did_not_fit_says_so(run, fit, fitted):
  run.add('a', RIGHT, fit=1.0)
  run.add('b', RIGHT, fit=fit)
  found = run.results([('few', 'A', ('a', 'b')), ('few', 'B', ('a',))])
  rows = found['few']['rows']
  assert rows['A']['fitted'] is fitted  # one seed that did not is enough
  assert rows['B']['fitted'] is True
  shown = {}
  for line in readings.render(found).splitlines():
    if line.startswith('| '):  # of the first table, which has the fit
      shown.setdefault(line.split('|')[1].strip(), line)
  assert ('did not fit' in shown['A']) is not fitted
  assert 'did not fit' not in shown['B']


def test_a_row_costs_what_its_stages_cost_together(run):
  run.add('pretrain', RIGHT, flops=5e12)
  run.add('head', RIGHT, flops=2e12, take={'encoder': 'pretrain'})
  run.add(
    'finetune', RIGHT, flops=1e12, take={'encoder': 'head', 'head': 'head'}
  )
  run.add('supervised', RIGHT, flops=3e12)
  found = run.results(
    [('few', name, (name,)) for name in ('head', 'finetune', 'supervised')]
  )
  costs = {name: row['flops'] for name, row in found['few']['rows'].items()}
  # `head` is taken twice by finetune, and paid once.
  assert costs == {'head': 7e12, 'finetune': 8e12, 'supervised': 3e12}
  assert '8.0' in readings.render(found)


def test_the_best_of_several_is_chosen_on_validation(run):
  """Not on the test images, where the other one is better."""
  run.add('slow', RIGHT, validation={'edit_distance_accuracy': 0.7})
  run.add('fast', HALF, validation={'edit_distance_accuracy': 0.8})
  run.add('again', HALF, validation={'edit_distance_accuracy': 0.8})
  stages = ('slow', 'fast', 'again')
  found = run.results([('few', 'A', (stages, 'slow'))])
  every = found['few']['rows']['A']['figures']['test']
  assert every['edit_distance_accuracy']['by_seed'] == [0.5, 1.0]


@pytest.mark.parametrize(('times', 'told'), [(2, False), (3, True)])
def test_a_figure_needs_ten_test_images(run, times, told):
  run.add('a', RIGHT, times=times)  # of 4 images
  found = run.results([('few', 'A', ('a',))])
  figures = found['few']['rows']['A']['figures']
  assert figures['test']['too_few'] is not told
  assert figures['hollow']['too_few']  # of 3 images at most
  text = readings.render(found)
  assert ('8 test images: too few to say' in text) is not told
  assert ('1.000 [1.000, 1.000]' in text) is told
  line = text.splitlines()[-1]  # accuracy by layout
  assert line.count('too few to say') == (3 if told else 4)


def test_the_page_names_every_row_group_and_difference(run):
  run.add('a', RIGHT, times=3)
  run.add('b', HALF, times=3)
  text = readings.render(
    run.results(
      [('few', 'A', ('a',)), ('few', 'B', ('b',)), ('more', 'A', ('a',))],
      differences=(('A', 'B'),),
      labelled_layouts={'few': ('arcs',)},
    )
  )
  few, more = text.split('### more')
  assert few.startswith('### few\n')
  assert '12 test images' in few
  (difference,) = (line for line in few.splitlines() if '*A - B*' in line)
  assert difference.split('|')[2].strip() == '0.500 [0.500, 0.500]'
  assert '*A - B*' in few and '*A - B*' not in more
  assert 'unlabelled layouts' in few and 'unlabelled layouts' not in more
  # One seed has no deviation.
  assert '±' not in text


def test_splits_layouts_and_published_figures(run):
  """`test_unseen` is no part of `test`; its layouts come after the others."""
  splits = ('test', 'test', 'test_unseen', 'test_unseen')
  run.add('a', ('1111', '', '33', '44'), splits=splits)
  found = run.results([('few', 'A', ('a',))], published={'A': 0.957, 'B': 1.0})
  row = found['few']['rows']['A']
  assert list(row['figures']) == ['test', 'test_unseen', 'colors', 'hollow']
  assert _value(row) == 0.5 and row['figures']['test']['count'] == 2
  assert _value(row, 'test_unseen') == _value(row, 'hollow') == 0.5
  assert found['few']['published'] == {'A': 0.957}
  text = readings.render(found)
  assert "the article's" in text and '0.957' in text


def test_a_recipe_cut_short_has_the_rows_that_ran(run):
  run.add('a', RIGHT)
  rows = [
    ('few', 'A', ('a',)),
    ('few', 'B', ('b',)),
    ('few', 'C', (('a', 'b'),)),
  ]
  found = run.results(rows)
  assert list(found['few']['rows']) == ['A']


def _records(run, rows, **config):
  described = {'recipe': list(run.stages), **run.stages, 'seed': 0}
  described |= {'rows': rows, 'labelled_layouts': {}} | config
  write_json(run.workdir / 'config.json', described)
  return runpy.run_path(str(SCRIPTS / 'labels.py'))['records'](run.workdir)


def test_confidences_stand_beside_the_figures(run):
  run.add('a', FIRST, confidence=(0.9, 0.4, 0.3, 0.2))
  run.add('old', FIRST)
  found = run.results([('few', 'A', ('a',)), ('few', 'B', ('old',))])
  rows = found['few']['rows']
  assert 'calibration' not in rows['B']
  calibration = rows['A']['calibration']
  assert calibration['confidence'] == pytest.approx(0.45)
  assert calibration['coverage']['0.5'] == 0.5
  assert calibration['temperature'] == [1.25]
  # Four images are too few for a figure of confidences too.
  assert 'confiden' not in readings.render(found)
  enough = found['few']['rows']['A']['figures']['test'] | {'count': 10}
  rows['A']['figures']['test'] = enough
  text = readings.render(found)
  assert text.count('| A ') == 4 and text.count('| B ') == 2
  assert 'without the least confident tenth' in text


def test_records_of_labels_are_over_draws(run):
  run.add('pretrain', RIGHT, flops=2e12)
  for seed, guesses in enumerate((RIGHT, HALF, FIRST)):
    run.add(f'a{seed}', guesses, flops=1e12, take={'encoder': 'pretrain'})
    run.stages[f'a{seed}']['seed'] = seed
  (found,) = _records(run, [('few', 'A', ('a0', 'a1', 'a2'))], seed=4)
  assert found['label_set'] == 'few' and found['row'] == 'A'
  assert found['labels'] == 500 and found['layouts'] == 'all'
  assert found['seeds'] == [4, 5, 6] and found['images'] == 4
  assert found['tflop'] == 3.0  # of a draw, with what it rests on
  assert found['by_draw'] == [1.0, 0.5, 0.25]
  assert found['exact_match_by_draw'] == [1.0, 0.0, 0.25]
  mean, sd = 1.75 / 3, np.sqrt(0.4375 / 3)
  assert found['edit_distance_accuracy'] == pytest.approx(mean)
  assert found['sd'] == pytest.approx(sd)
  # Student's t at 0.975 with two degrees of freedom is 4.3027.
  low = mean - 4.302652730 * sd / np.sqrt(3)
  assert found['low'] == pytest.approx(low, abs=1e-8) and low < 0
  assert found['high'] == 1.0
  assert found['exact_match'] == pytest.approx(1.25 / 3)
  # A share has no values outside 0 to 1; the accuracy has some below 0.
  assert found['exact_match_low'] == 0.0 and found['exact_match_high'] == 1.0


def test_records_of_labels_of_some_layouts(run):
  run.add('a', ('1111', '222', '', '55555'))
  run.stages['a']['seed'] = 0
  part = _records(
    run,
    [('part', 'A', ('a',)), ('every', 'A', (('a', 'a'),))],
    labelled_layouts={'part': ('arcs', 'colors')},
  )
  figures = [(each['layouts'], each['edit_distance_accuracy']) for each in part]
  assert figures == [
    ('labelled and unlabelled', pytest.approx(1.5 / 4)),
    ('labelled', pytest.approx(1.5 / 3)),
    ('unlabelled', 0.0),
    ('all', pytest.approx(1.5 / 4)),
  ]
  assert [each['images'] for each in part] == [4, 3, 1, 4]
  # One draw says nothing of another.
  assert part[0]['sd'] is part[0]['low'] is part[0]['high'] is None
  assert part[1]['exact_match_low'] is None


def test_records_of_labels_leave_unseen_layouts_out(run):
  splits = ('test', 'test', 'test_unseen', 'test_unseen')
  run.add('a', FIRST, splits=splits)
  run.stages['a']['seed'] = 0
  (found,) = _records(run, [('few', 'A', ('a',))])
  assert found['edit_distance_accuracy'] == 0.5 and found['images'] == 2


def test_telemetry_is_the_last_line_of_each_stage(tmp_path):
  (tmp_path / 'pretrain').mkdir()
  (tmp_path / 'pretrain' / 'metrics.jsonl').write_text(
    '{"step": 1, "seconds": 1.0, "loss": 3.0}\n'
    '{"step": 2, "seconds": 2.0, "loss": 2.5, "std": 0.125}\n'
  )
  task = {'accuracy': {'value': 0.75, 'low': 0.5, 'high': 1.0, 'count': 40}}
  write_json(tmp_path / 'pretrain' / 'stage.json', {'task': task})
  found = telemetry.telemetry([tmp_path / 'pretrain'])
  last = {'step': 2, 'loss': 2.5, 'std': 0.125}
  assert found == {'pretrain': last | {'task': task}}
  page = telemetry.render(found).splitlines()
  (line,) = (line for line in page if '2.500' in line)
  assert 'accuracy' not in line
  assert '0.750 [0.500, 1.000]' in page[-1] and 'accuracy' in page[-1]
  assert line.split('|')[1].strip() == 'pretrain' and '0.125' in line
