"""The task of reading text: what a step reads, and which labels it can."""

import csv
import functools
import types

import making
import numpy as np
import pytest
import tiny_ocr

from ssljax import build, evals, tasks
from ssljax.errors import UserError
from ssljax.reports import sheet
from ssljax.tasks import reading

CONFIG = tiny_ocr.get_config()


def _check(config, source):
  tasks.make(config).check(source, build.encoder(config))


def test_labels_that_cannot_be_read_are_refused():
  check = functools.partial(_check, CONFIG)
  check(making.text_source(['1234', '111111']))
  with pytest.raises(UserError, match=r"'12x4' has 'x'.*correct the label"):
    check(making.text_source(['1234', '12x4']))
  with pytest.raises(UserError, match='has 7 characters, expected at most 6'):
    check(making.text_source(['1234567']))
  narrow = tiny_ocr.get_config()
  narrow.data.width = 28
  check = functools.partial(_check, narrow)
  assert making.frames(narrow) == 7
  check(making.text_source(['123456', '112345', '1234'], width=28))
  # Six characters fit in seven frames, but not with two blanks between.
  with pytest.raises(UserError, match=r"'112245' of example 1.* 8 frames"):
    check(making.text_source(['123456', '112245'], width=28))
  # What counts is the image, not the frame that it is padded to.
  source = making.text_source(['1234', '1234'])
  source.columns['width'] = np.array([16, 12], np.int32)
  with pytest.raises(UserError, match=r'example 1.* 12 pixels wide gives 3'):
    check(source)


def test_a_batch_as_the_step_reads_it():
  source = making.text_source(['1234', '111111'])
  batch = tasks.make(CONFIG).arrays(source.gather([0, 1]))
  assert set(batch) == {'image', 'index', 'label'}
  assert batch['image'].dtype == np.uint8
  np.testing.assert_array_equal(
    batch['label'], [[2, 3, 4, 5, 0, 0], [2, 2, 2, 2, 2, 2]]
  )


class _Own:
  """A folder of four images, of which some show less than the frame."""

  def __init__(self, splits):
    self.splits = splits

  def open(self, split):
    source = making.text_source(['1'] * 4)
    source.columns['image'] += np.arange(4, dtype=np.uint8)[:, None, None, None]
    source.columns['width'] = np.array([96, 64, 96, 32], np.int32)
    return source

  def files(self, split):
    return [f'{split}/{place}.png' for place in range(4)]


def _evaluate(splits, folder):
  """A stage that reads the brightness of each image, twice."""
  folder.mkdir(exist_ok=True)
  dataset = _Own(splits)

  def predict(params, method_state, images, widths):
    del widths
    classes = 1 + images[:, :1, :2, 0].astype(np.int32).repeat(12, axis=2)
    classes = classes[:, 0].at[:, 1::2].set(0)
    # The brighter an image, the surer its reading.
    return (classes[:, :, None] == np.arange(11)) * (1.0 * classes[:, :1, None])

  stage = types.SimpleNamespace(
    method=types.SimpleNamespace(learns_labels=True, predict=predict),
    labels=dataset.open('train'),
    folder=folder,
  )
  state = types.SimpleNamespace(params={}, method_state={})
  return tasks.make(CONFIG).evaluate(stage, state, dataset)


def test_images_without_labels_are_shown_with_what_is_read(
  tmp_path, monkeypatch
):
  shown, draw = {}, sheet.sheet

  def drawn(images, *rest, **options):
    shown.update({place: each.shape for place, each in images.items()})
    draw(images, *rest, **options)

  monkeypatch.setattr(sheet, 'sheet', drawn)
  found = _evaluate(('unlabeled', 'rendered'), tmp_path)
  assert set(found) == {'fit'}
  with (tmp_path / 'readings.csv').open(newline='') as file:
    header, *rows = csv.reader(file)
  assert header == ['file', 'reading', 'confidence']
  assert [row[0] for row in rows] == [
    f'unlabeled/{place}.png' for place in (3, 2, 1, 0)
  ]
  # The padding is not read: a third of the frames is a third of the text.
  assert [row[1] for row in rows] == ['3333', '2' * 12, '1' * 8, '0' * 12]
  confidence = [float(row[2]) for row in rows]
  assert confidence == sorted(confidence, reverse=True)
  assert (tmp_path / 'sheet.png').exists()
  # Nor is it shown.
  assert [shown[place][1] for place in range(4)] == [96, 64, 96, 32]
  assert not (tmp_path / 'predictions.csv').exists()


def test_a_stage_reads_some_of_its_own_examples(tmp_path, monkeypatch):
  read, sizes = reading.read_splits, []

  def counted(read_source, source, *rest):
    sizes.append(len(source))
    return read(read_source, source, *rest)

  monkeypatch.setattr(reading, 'read_splits', counted)
  _evaluate(('test',), tmp_path)
  monkeypatch.setattr(reading, 'FIT', 3)
  _evaluate(('test',), tmp_path)
  assert sizes == [4, 3]


@pytest.mark.parametrize(
  ('splits', 'chosen'),
  [
    (('test', 'validation', 'rendered_validation'), 'validation'),
    (('unlabeled', 'train', 'test', 'rendered_validation'), 'test'),
    (('unlabeled', 'rendered', 'rendered_validation'), 'rendered_validation'),
    (('unlabeled', 'rendered'), None),
  ],
)
def test_confidences_are_calibrated_on_images_that_were_not_learned(
  splits, chosen
):
  dataset = _Own(splits)
  opened = []

  def outputs(source):
    opened.append(len(source))
    logits = np.eye(11)[np.full((len(source), 1), 2)] * 3.0
    # '1' is what all images show, so the network should be surer.
    yield evals.Outputs(logits, None, ['1'] * len(source), [0] * len(source))

  found = reading.calibrate(outputs, dataset, tasks.make(CONFIG).charset)
  if chosen is None:
    assert found == {} and not opened
    return
  assert found['from'] == chosen and found['images'] == opened[0] == 4
  before, after = found['ece'].values()
  if chosen == 'rendered_validation':
    # Rendered text says nothing of how sure to be of other images.
    assert found['temperature'] == pytest.approx(1.0, abs=0.01)
  else:
    assert found['temperature'] < 0.8 and after < before


def test_the_temperature_of_a_stage_is_that_of_its_readings(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(reading, 'calibrate', lambda *rest: {'temperature': 0.25})
  _evaluate(('unlabeled',), tmp_path / 'cold')
  monkeypatch.setattr(reading, 'calibrate', lambda *rest: {})
  _evaluate(('unlabeled',), tmp_path / 'warm')
  sums = []
  for name in ('cold', 'warm'):
    with (tmp_path / name / 'readings.csv').open(newline='') as file:
      rows = list(csv.DictReader(file))
    sums.append(sum(float(row['confidence']) for row in rows))
  assert sums[0] > 2 * sums[1] > 0


def test_a_test_split_needs_no_sheet(tmp_path):
  found = _evaluate(('unlabeled', 'train', 'test'), tmp_path)
  assert set(found) == {'fit', 'test', 'calibration'}
  assert found['calibration']['from'] == 'test'
  assert (tmp_path / 'predictions.csv').exists()
  assert not (tmp_path / 'sheet.png').exists()


def test_validation_of_ones_own_has_figures_and_no_readings(tmp_path):
  found = _evaluate(('unlabeled', 'train', 'validation', 'test'), tmp_path)
  assert set(found) == {'fit', 'validation', 'test', 'calibration'}
  with (tmp_path / 'predictions.csv').open(newline='') as file:
    assert {row['split'] for row in csv.DictReader(file)} == {'test'}
