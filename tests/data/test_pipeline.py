import ast
import itertools
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import ssljax.data
from ssljax.data import pipeline, sources

LAYOUT_NAMES = ('colors', 'arcs', 'hollow', 'texture')


def memory_source(count):
  index = np.arange(count, dtype=np.int32)
  columns = {
    'image': np.tile(index.astype(np.uint8)[:, None, None, None], (4, 6, 3)),
    'index': index,
    'text': np.array([str(1000 + number) for number in index]),
    'layout': index * 7 % len(LAYOUT_NAMES),
    'extents': np.full((count, 6, 2), -1, np.float32),
  }
  return sources.MemorySource(columns, LAYOUT_NAMES)


def order(source, **arguments):
  arguments = {'batch_size': 4, 'seed': 0, 'steps': 10} | arguments
  return [
    batch['index'].tolist() for batch in pipeline.batches(source, **arguments)
  ]


def test_a_batch_holds_whole_examples():
  source = memory_source(22)
  for batch in pipeline.batches(source, batch_size=4, seed=0, steps=3):
    assert batch['image'].shape == (4, 4, 6, 3)
    assert batch['image'].dtype == np.uint8
    for place, index in enumerate(batch['index']):
      example = source[index]
      for name, value in example.items():
        np.testing.assert_array_equal(batch[name][place], value)


@pytest.mark.parametrize('shuffle', [True, False])
def test_starting_later_gives_the_same_batches(shuffle):
  # 22 examples: 5 steps an epoch, so these starts lie in, at and after epochs.
  source = memory_source(22)
  whole = order(source, steps=17, shuffle=shuffle)
  assert len(whole) == 17
  for start in (0, 1, 5, 9, 10, 16, 17):
    assert (
      order(source, steps=17, start=start, shuffle=shuffle) == (whole[start:])
    )


def test_an_epoch_has_no_example_twice_and_epochs_differ():
  source = memory_source(22)
  steps = order(source, steps=15)
  epochs = [np.ravel(steps[start : start + 5]).tolist() for start in (0, 5, 10)]
  for epoch in epochs:
    assert len(set(epoch)) == 20
  assert len({tuple(epoch) for epoch in epochs}) == 3
  # The two that are left out are not always the same two.
  assert len({frozenset(epoch) for epoch in epochs}) > 1


def test_seeds_have_orders_of_their_own():
  # grain alone gives seed 1 the second epoch of seed 0 for its first.
  source = memory_source(20)
  runs = {seed: order(source, seed=seed, steps=15) for seed in range(4)}
  epochs = [
    str(run[start : start + 5]) for run in runs.values() for start in (0, 5, 10)
  ]
  assert len(set(epochs)) == 12
  assert runs[0] == order(source, seed=0, steps=15)


def test_without_shuffling_the_order_is_the_sources():
  assert order(memory_source(9), shuffle=False, steps=3) == [
    [0, 1, 2, 3],
    [4, 5, 6, 7],
    [0, 1, 2, 3],
  ]


def test_transform_sees_each_batch_and_its_errors_surface():
  source = memory_source(8)

  def transform(batch):
    return {'twice': 2 * batch['index']}

  arguments = {'batch_size': 4, 'seed': 0, 'steps': 2}
  plain = order(source, **arguments)
  changed = pipeline.batches(source, transform=transform, **arguments)
  assert [(b['twice'] // 2).tolist() for b in changed] == plain

  def broken(batch):
    raise KeyError('no such column')

  with pytest.raises(KeyError, match='no such column'):
    next(pipeline.batches(source, transform=broken, **arguments))


def test_a_batch_larger_than_the_data_is_refused_at_once():
  with pytest.raises(ValueError, match=r'9 and 8 examples.*Lower'):
    pipeline.batches(memory_source(8), batch_size=9, seed=0, steps=1)
  with pytest.raises(ValueError, match='start 3 and steps 2'):
    pipeline.batches(memory_source(8), batch_size=2, seed=0, start=3, steps=2)


MIXTURE = pipeline.Mixture(examples=6, batch=2)


def mixed_order(**arguments):
  """Of 6 examples with labels before 12 others; 4 steps are a pass of these."""
  arguments = {'batch_size': 5, 'mixture': MIXTURE} | arguments
  return order(memory_source(18), **arguments)


@pytest.mark.parametrize('shuffle', [True, False])
def test_a_mixed_batch_begins_with_its_labelled_examples(shuffle):
  for batch in mixed_order(steps=20, shuffle=shuffle):
    assert len(set(batch)) == 5
    assert [index < 6 for index in batch] == [True] * 2 + [False] * 3


def test_a_mixture_starts_later_with_the_same_batches():
  whole = mixed_order(steps=13)
  assert len({str(batch) for batch in whole}) == 13
  for start in (0, 1, 3, 4, 7, 12, 13):
    assert mixed_order(steps=13, start=start) == whole[start:]
  assert mixed_order(steps=13, seed=1) != whole


def test_a_mixture_passes_over_each_part_by_itself():
  """Three steps are all labelled examples, and four steps all the others."""
  steps = mixed_order(steps=24)
  passes = [
    [index for batch in steps[start : start + 3] for index in batch[:2]]
    for start in range(0, 24, 3)
  ]
  others = [
    [index for batch in steps[start : start + 4] for index in batch[2:]]
    for start in range(0, 24, 4)
  ]
  for each in passes:
    assert sorted(each) == list(range(6))
  for each in others:
    assert sorted(each) == list(range(6, 18))
  # Each pass has an order of its own.
  assert len({str(each) for each in passes}) > 6
  assert len({str(each) for each in others}) == 6


def test_seeds_mix_in_orders_of_their_own():
  runs = [mixed_order(steps=12, seed=seed) for seed in range(3)]
  for part in (slice(2), slice(2, None)):
    orders = [str([batch[part] for batch in run]) for run in runs]
    assert len(set(orders)) == 3


@pytest.mark.parametrize(
  ('examples', 'batch', 'size'),
  [(6, 0, 5), (6, 5, 5), (6, 7, 9), (6, 2, 15), (18, 2, 5)],
)
def test_a_mixture_that_fills_no_batch_is_refused(examples, batch, size):
  mixture = pipeline.Mixture(examples, batch)
  unlabelled = 18 - examples
  words = f'batches of {size}, {batch} of them .* {unlabelled} unlabelled'
  with pytest.raises(ValueError, match=words):
    mixed_order(batch_size=size, mixture=mixture)


@pytest.mark.parametrize('count', [1, 7, 8, 9])
def test_evaluation_sees_every_example_once(count):
  source = memory_source(count)
  seen = []
  for batch in pipeline.evaluation_batches(source, 4):
    assert {len(column) for column in batch.values()} == {4}
    assert batch['valid'].dtype == bool
    assert (batch['index'][~batch['valid']] == count - 1).all()
    seen += batch['index'][batch['valid']].tolist()
  assert seen == list(range(count))
  with pytest.raises(ValueError, match='batch size of 0'):
    pipeline.evaluation_batches(source, 0)


@pytest.mark.parametrize('layouts', [None, ('arcs',), ('hollow', 'arcs')])
def test_smaller_subsets_are_nested_in_larger(layouts):
  source = memory_source(40)
  chosen = [
    sources.subset(source, count, layouts).gather(range(count))['index']
    for count in (3, 6, 10)
  ]
  for smaller, larger in itertools.pairwise(chosen):
    assert larger[: len(smaller)].tolist() == smaller.tolist()
  if layouts:
    wanted = {LAYOUT_NAMES.index(layout) for layout in layouts}
    assert {int(source[i]['layout']) for i in chosen[-1]} == wanted
    # All of them, in order: red where a matching example is passed over.
    matching = [i for i in range(40) if int(source[i]['layout']) in wanted]
    assert chosen[-1].tolist() == matching[:10]


def test_a_subset_is_a_source():
  part = sources.subset(memory_source(40), 10, ('colors',))
  inner = sources.subset(part, 4, ('colors',))
  assert len(inner) == 4
  assert [example['index'] for example in inner] == [
    part[place]['index'] for place in range(4)
  ]
  assert len(order(part, batch_size=5, steps=3)) == 3


@pytest.mark.parametrize(
  'count, layouts, words',
  [
    (41, None, ['Found 40', 'at least 41', 'prepare more']),
    (11, ('arcs',), ['Found 10', 'arcs', 'at least 11']),
    (3, ('arc',), ['arc;', 'hollow']),
    (0, None, ['at least 1']),
  ],
)
def test_a_subset_that_cannot_be_is_refused(count, layouts, words):
  with pytest.raises(ValueError) as error:
    sources.subset(memory_source(40), count, layouts)
  assert all(word in str(error.value) for word in words)


def test_a_position_outside_is_an_error():
  # Red where a negative position reads from the end, or iteration never ends.
  source = memory_source(5)
  for each in (source, sources.subset(source, 5)):
    assert len(list(each)) == 5
    for position in (-1, 5):
      with pytest.raises(IndexError):
        each[position]


def test_data_does_not_import_jax_or_the_rest():
  folder = pathlib.Path(ssljax.data.__file__).parent
  for file in folder.glob('*.py'):
    for node in ast.walk(ast.parse(file.read_text())):
      names = []
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, file
        names = [f'{node.module}.{alias.name}' for alias in node.names]
      for name in names:
        top = name.split('.')[0]
        assert top not in ('jax', 'flax', 'tensorflow'), file
        # The parts below data, which import no jax either.
        below = (
          'ssljax.data',
          'ssljax.errors',
          'ssljax.text',
          'ssljax.durable',
          'ssljax.bars',
        )
        assert top != 'ssljax' or name.startswith(below), file


def test_workers_stay_light():
  # grain imports jax, so only the pipeline may import grain: a worker that
  # loads jax costs seconds and hundreds of MB, once a core.
  program = (
    'import sys; from ssljax.data import render, sources, text_images; '
    'print([n for n in ("jax", "tensorflow", "grain") if n in sys.modules])'
  )
  output = subprocess.check_output([sys.executable, '-c', program], text=True)
  assert output == '[]\n'
