"""What a run tells before its first step."""

import re

import pytest

from ssljax.data.survey import Survey
from ssljax.reports import plans, summary
from ssljax.reports.plans import Machine, Plan


def _survey(texts, *, test=(), **changes):
  """A folder whose images have these labels; `test` are of the test set."""
  train = {f'{place}.png': text for place, text in enumerate(texts)}
  tested = {f't{place}.png': text for place, text in enumerate(test)}
  names = [*train, *tested, 'plain.png']
  found = Survey(
    directory='own',
    images=names,
    skipped=[],
    sizes=[(120, 40)] * len(names),
    rows=[30] * len(names),
    frame=(48, 144),
    splits={'train': train, 'test': tested} if test else {'train': train},
  )
  return found._replace(**changes)


def _labels(*arguments, rendered=False, **changes):
  found = _survey(*arguments, **changes)
  return '\n'.join(summary.label_lines(found, rendered=rendered))


def test_a_character_that_only_test_labels_show_is_never_read():
  told = _labels(['01'] * 20, test=['0V', '01'])
  assert "in no training label, so never read: 'V' (t0.png)" in told
  assert 'never read' not in _labels(['01'] * 20, test=['01'])
  # Rendered text shows every character in training.
  assert 'never read' not in _labels(['01'] * 20, test=['0V'], rendered=True)


def test_a_character_seen_once_is_named_with_what_it_looks_like():
  told = _labels(['10'] * 12 + ['1O', '1x'])
  assert "'O' (12.png, beside '0' (12 times): is that meant?)" in told
  assert "'x' (13.png)" in told
  assert 'seen once' not in _labels(['10'] * 12)


def test_characters_are_counted_and_rare_ones_named():
  told = _labels(['11'] * 5 + ['2'] * 4)
  assert '2 characters (times): 1 (10), 2 (4)' in told
  assert "rare, in fewer than 5 training labels: '2' (4)" in told
  assert 'characters in a label (labels): 1 (4), 2 (5)' in told


@pytest.mark.parametrize(
  ('count', 'told'),
  [
    (0, 'no test images: no figure can be given'),
    (1, '1 test image: too few to say'),
    (9, '9 test images: too few to say'),
    # 1.96 standard deviations of the mean of fair coins.
    (10, '10 test images tell a share of right readings to within 0.31'),
    (100, '100 test images tell a share of right readings to within 0.10'),
  ],
)
def test_what_a_figure_of_so_few_says(count, told):
  text = _labels(['01'] * 20, test=['01'] * count)
  assert told in text
  assert f'split: 20 train{f", {count} test" if count else ""}' in text


def test_labels_of_classes():
  splits = {'train': {'a/1.png': 'cat', 'b/2.png': 'dog', 'b/3.png': 'dog'}}
  told = _labels([], splits=splits, classes=True)
  assert 'in 2 classes\ncat (1), dog (2)\nsplit: 3 train' in told
  assert 'never read' not in told


def test_no_labels():
  assert _labels([], splits={}) == 'Labels: none of 1 images'


def test_the_height_of_the_text_is_told():
  found = _survey(['01', '02'], rows=[17, 30, 30])
  told = '\n'.join(summary.image_lines(found))
  assert 'in the frame their text is 17 to 30 (median 30) rows high' in told
  assert '120 wide, 40 high' in told and '144 wide, 48 high' in told


def test_the_sizes_of_pictures_of_classes_are_told():
  found = _survey(['cat', 'dog'], classes=True, rows=(), frame=(64, 64))
  (_, told) = summary.image_lines(found)
  assert told.startswith('sizes in pixels: 120 wide, 40 high; ')
  assert told.endswith('the middle of each, 64 wide and high')


def test_skipped_files_are_counted_and_odd_names_are_printable():
  skipped = [('bro\udcffken.png', 'unreadable'), *[('b.png', 'no')] * 4]
  (first, *_) = summary.image_lines(_survey(['01'], skipped=skipped))
  assert '7 found, 2 used, 5 skipped' in first
  assert r'bro\xffken.png, b.png, b.png and 2 more; see skipped.csv' in first
  first.encode()


def test_the_summary_is_a_screen_at_most():
  """With everything to tell: many characters, files, splits and stages."""
  texts = [chr(0x4E00 + place) for place in range(3000)]
  found = _survey(
    texts,
    test=['V', 'W'],
    skipped=[('a.png', 'x')] * 50,
    sizes=[(9000, 40)] * 3003,
  )
  plan = Plan('pretrain', 'simclr', 400, 0, 48, 48, 79, 0, 6e12, 10**6, 10**6)
  machine = Machine(speed=20e9, free=10**9, memory=16 * 10**9)
  text = summary.render(
    summary.image_lines(found),
    summary.label_lines(found),
    plans.stage_lines([plan] * 200, machine, decoded=5, finished=['a'] * 99),
  )
  lines = text.splitlines()
  assert len(lines) <= 40
  assert max(map(len, lines)) < 2000
  assert 'and 190 more' in text
  # Blocks begin at the margin, and what belongs to them is indented.
  heads = [line for line in lines if not line.startswith('  ')]
  assert [re.split(r'[ :]', line)[0] for line in heads] == [
    'Images', 'Labels', 'Stages'
  ]  # fmt: skip
