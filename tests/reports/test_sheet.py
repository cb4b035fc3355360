"""The sheet of readings: which are shown where, and the list of all."""

import csv
import pathlib

import numpy as np
import pytest
from PIL import Image

from ssljax.reports import sheet


def _readings(count, seed=0):
  """Readings in a random order of confidence, whose text is their place."""
  order = np.random.default_rng(seed).permutation(count)
  return [(str(place), (order[place] + 1) / 100) for place in range(count)]


def test_most_and_least_confident_readings_are_chosen():
  readings = _readings(60)
  most, least = sheet.chosen(readings)
  values = [round(100 * readings[place][1]) for place in (*most, *least)]
  assert values == [*range(60, 48, -1), *range(1, 25)]


@pytest.mark.parametrize('count', [1, 12, 13, 35, 36])
def test_few_readings_are_shown_once(count):
  most, least = sheet.chosen(_readings(count))
  assert sorted(most + least) == list(range(count))
  assert len(most) == min(12, count)


def _colour(place):
  return np.array([10 + 20 * place % 200, 240 - place, 40], np.uint8)


def _blocks(path):
  """The places of the images on a sheet, by their colours, row by row."""
  pixels = np.asarray(Image.open(path))
  found = {}
  for place in range(60):
    rows, columns = np.nonzero((pixels == _colour(place)).all(axis=-1))
    if rows.size > 1000:  # beside stray pixels of borders
      found[rows.mean(), columns.mean()] = place
  return [place for _, place in sorted(found.items())], sorted(found)


def test_the_images_stand_in_two_blocks(tmp_path, monkeypatch):
  readings, drawn, draw = _readings(60), [], sheet._cell

  def cell(pixels, reading, width):
    drawn.append((pixels[0, 0].tolist(), reading))
    return draw(pixels, reading, width)

  monkeypatch.setattr(sheet, '_cell', cell)
  images = [np.tile(_colour(place), (48, 120, 1)) for place in range(60)]
  sheet.sheet(images, readings, tmp_path / 'sheet.png', columns=4)
  places, positions = _blocks(tmp_path / 'sheet.png')
  most, least = sheet.chosen(readings)
  assert places == most + least
  # Each with its own reading.
  assert drawn == [(_colour(each).tolist(), readings[each]) for each in places]
  rows = sorted({round(row) for row, _ in positions})
  assert len(rows) == 9
  steps = np.diff(rows)
  assert steps[2] > steps[0]  # the caption of the second block


def test_the_reading_and_its_confidence_stand_under_the_image(tmp_path):
  """Sheets that differ in a reading or a confidence differ under its image."""
  images = {0: np.full((48, 120, 3), 255, np.uint8)}
  under = 2 * sheet.LINE + sheet.TALLEST + 1  # below caption and image

  def ink(reading):
    sheet.sheet(images, [reading], tmp_path / 'sheet.png')
    pixels = np.asarray(Image.open(tmp_path / 'sheet.png').convert('L'))
    assert (pixels[under:] < 128).any()
    return pixels

  one = ink(('4711', 0.5))
  for other in (('4712', 0.5), ('4711', 0.6), ('', 0.5)):
    changed = np.flatnonzero((ink(other) != one).any(axis=1))
    assert changed.size and changed[0] >= under


def test_long_readings_stay_in_their_cell(tmp_path):
  images = [np.full((48, 300, 3), 255, np.uint8)] * 2
  readings = [('W' * 500, 0.9), ('', 0.8)]
  sheet.sheet(images, readings, tmp_path / 'sheet.png', columns=2)
  pixels = np.asarray(Image.open(tmp_path / 'sheet.png').convert('L'))
  second = sheet.MARGIN + (sheet.WIDTH - sheet.MARGIN) // 2
  under = pixels[2 * sheet.LINE + sheet.TALLEST + 1 :, :second]
  assert (under[:, : -sheet.MARGIN] < 60).any()
  assert (under[:, -sheet.MARGIN :] == 255).all()


def test_all_readings_are_listed_by_confidence(tmp_path):
  path = tmp_path / 'readings.csv'
  files = ['a.png', 'b/ä.png', 'c\udcff.png']
  sheet.write_readings(path, files, [('1,"', 0.25), ('', 1e-9), ('ж', 0.875)])
  with path.open(
    newline='', encoding='utf-8', errors='surrogateescape'
  ) as file:
    assert list(csv.reader(file)) == [
      ['file', 'reading', 'confidence'],
      ['c\udcff.png', 'ж', '0.875'],
      ['a.png', '1,"', '0.25'],
      ['b/ä.png', '', '1e-09'],
    ]


def test_the_words_say_where_the_sheets_are(tmp_path):
  assert sheet.found(tmp_path) == {}
  assert sheet.render({}) == ''
  for stage in ('pretrain', 'finetune', 'head'):
    (tmp_path / stage).mkdir()
  for stage in ('finetune', 'head'):
    pathlib.Path(tmp_path / stage / 'sheet.png').touch()
  found = sheet.found(tmp_path)
  assert found == {'finetune': 'finetune/sheet.png', 'head': 'head/sheet.png'}
  words = sheet.render(found)
  assert 'no labelled images' in words and 'no figure' in words
  assert '`head/sheet.png`' in words and '`head/readings.csv`' in words
