"""Random access to the examples of a split of text images.

An example is a dict of `image` uint8 (height, width, 3), `index` int32, `text`
str and `layout` int32, a position in `source.layouts`. Rendered examples also
have `extents`, float32 (6, 2), padded with -1. The user's own images have
`width` int32 instead: the columns that show the image, before the padding on
its right.
"""

import io
import pathlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from ssljax.data import cache, workers
from ssljax.errors import UserError

# The records that a thread reads and decodes together; so many that the cost
# of the threads themselves is small.
BLOCK = 256

Positions = Sequence[int] | np.ndarray


class Description(NamedTuple):
  """What checks and messages need of an example.

  Attributes:
    name: of the example, as an error message calls it.
    text: its label; '' for an image without one.
    width: pixels that are shown, before the padding on the right.
    layout: its place in the source's `layouts`.
  """

  name: str
  text: str = ''
  width: int = 0
  layout: int = 0


class Source(Protocol):
  """A sequence of examples that are read by their position.

  `gather` reads several examples at once and stacks them. `describe` says what
  an example is without its pixels.
  """

  @property
  def layouts(self) -> Sequence[str]: ...

  def __len__(self) -> int: ...

  def __getitem__(self, position: int) -> dict: ...

  def gather(self, positions: Positions) -> dict[str, np.ndarray]: ...

  def describe(self, position: int) -> Description: ...


def stack(examples: Sequence[dict]) -> dict[str, np.ndarray]:
  """Stacks examples into one dict of arrays with a leading axis."""
  return {
    name: np.array([example[name] for example in examples])
    for name in examples[0]
  }


class StoredSource:
  """A split of prepared images, read and decoded anew at every access."""

  def __init__(self, builder: Any, split: str):
    import tensorflow_datasets as tfds

    if split not in builder.info.splits:
      raise UserError(
        f'Found no split {split!r} in {builder.info.full_name}; expected one '
        f'of {", ".join(builder.info.splits)}. Prepare it with a count for '
        'this split.'
      )
    features = _features(builder)
    self.layouts: tuple[str, ...] = tuple(features['layout'].names)
    self._width = features['image'].shape[1]
    extents = features['extents'].shape
    # Of an example. The image comes last, so that all others are aligned.
    self.dtype = np.dtype(
      [
        ('index', np.int32),
        ('text', f'U{extents[0]}'),
        ('layout', np.int32),
        ('extents', np.float32, extents),
        ('image', np.uint8, features['image'].shape),
      ]
    )
    # tfds leaves the image as PNG bytes, because `describe` does
    # not need it decoded, and because its decoder warns that OpenCV would be
    # faster.
    as_data_source: Any = builder.as_data_source  # its wrapper has no types
    self._records = as_data_source(
      split, decoders={'image': tfds.decode.SkipDecoding()}
    )

  def __len__(self) -> int:
    return len(self._records)

  def _example(self, record: dict) -> dict:
    with Image.open(io.BytesIO(record['image']), formats=('PNG',)) as image:
      pixels = np.asarray(image.convert('RGB'))
    return {
      'image': pixels,
      'index': np.int32(record['index']),
      'text': record['text'].decode(),
      'layout': np.int32(record['layout']),
      'extents': np.asarray(record['extents'], np.float32),
    }

  def __getitem__(self, position: int) -> dict:
    return self._example(self._records[_inside(position, len(self))])

  def gather(self, positions: Positions) -> dict[str, np.ndarray]:
    positions = [_inside(position, len(self)) for position in positions]
    records = self._records.__getitems__(positions)
    return stack([self._example(record) for record in records])

  def describe(self, position: int) -> Description:
    record = self._records[_inside(position, len(self))]
    name, text = f'example {position}', record['text'].decode()
    return Description(name, text, self._width, int(record['layout']))


class MemorySource:
  """Examples that are held in memory, decoded, as one array per feature."""

  def __init__(
    self,
    columns: dict[str, np.ndarray],
    layouts: Sequence[str],
    names: Sequence[str] | None = None,
  ):
    """Takes the examples.

    Args:
      columns: for each feature, its values for all examples.
      layouts: the names of the layouts.
      names: what `describe` calls the examples, if they have names of their
        own.
    """
    self.columns = columns
    self.layouts = tuple(layouts)
    self._names = names

  def __len__(self) -> int:
    return len(self.columns['index'])

  def __getitem__(self, position: int) -> dict:
    position = _inside(position, len(self))
    example = {name: column[position] for name, column in self.columns.items()}
    return example | {'text': str(example['text'])}

  def gather(self, positions: Positions) -> dict[str, np.ndarray]:
    positions = np.asarray(positions)
    return {name: column[positions] for name, column in self.columns.items()}

  def describe(self, position: int) -> Description:
    columns, width = self.columns, self.columns['image'].shape[2]
    return Description(
      name=self._names[position] if self._names else f'example {position}',
      text=str(columns['text'][position]),
      width=int(columns['width'][position]) if 'width' in columns else width,
      layout=int(columns['layout'][position]),
    )


class Subset:
  """The examples of a source at some of its positions."""

  def __init__(self, source: Source, positions: Positions):
    self.layouts = source.layouts
    self._source = source
    self._positions = np.asarray(positions)

  def __len__(self) -> int:
    return len(self._positions)

  def __getitem__(self, position: int) -> dict:
    position = _inside(position, len(self))
    return self._source[int(self._positions[position])]

  def gather(self, positions: Positions) -> dict[str, np.ndarray]:
    return self._source.gather(self._positions[np.asarray(positions)])

  def describe(self, position: int) -> Description:
    return self._source.describe(int(self._positions[position]))


class Joined:
  """Several sources, one after another, as one source.

  The `index` of an example is its position here. Its index in its own split
  would not do: random keys are made from the index, and two splits have the
  same numbers. Its `layout` is a position among the layouts of all sources.
  """

  def __init__(self, parts: Sequence[Source]):
    names = [name for part in parts for name in part.layouts]
    self.layouts = tuple(dict.fromkeys(names))
    # Of each source, the numbers that its layouts have here.
    self._numbers = [
      np.array([self.layouts.index(name) for name in part.layouts], np.int32)
      for part in parts
    ]
    self._parts = parts
    self._starts = np.cumsum([0, *map(len, parts)])

  def __len__(self) -> int:
    return int(self._starts[-1])

  def _place(self, position: int) -> tuple[int, int]:
    """The number of the source, and the position in it."""
    position = _inside(position, len(self))
    part = int(np.searchsorted(self._starts, position, side='right')) - 1
    return part, position - int(self._starts[part])

  def _renumbered(self, part: int, examples: dict) -> dict:
    if 'layout' not in examples:  # only text has layouts
      return examples
    return examples | {'layout': self._numbers[part][examples['layout']]}

  def __getitem__(self, position: int) -> dict:
    part, inside = self._place(position)
    example = self._renumbered(part, self._parts[part][inside])
    return example | {'index': np.int32(position)}

  def gather(self, positions: Positions) -> dict[str, np.ndarray]:
    positions = np.asarray(positions)
    part_of = np.searchsorted(self._starts, positions, side='right') - 1
    order, found = np.argsort(part_of, kind='stable'), []
    for part in np.unique(part_of):
      inside = positions[part_of == part] - self._starts[part]
      gathered = self._parts[part].gather(inside)
      found.append(self._renumbered(part, gathered))
    back = np.argsort(order)
    columns = {
      name: np.concatenate([part[name] for part in found])[back]
      for name in found[0]
    }
    return columns | {'index': positions.astype(np.int32)}

  def describe(self, position: int) -> Description:
    part, inside = self._place(position)
    found = self._parts[part].describe(inside)
    if not self.layouts:
      return found
    return found._replace(layout=int(self._numbers[part][found.layout]))


def _inside(position: int, length: int) -> int:
  """Checks a position and returns it as an int.

  The IndexError past the end is also what ends `for example in source`.
  """
  position = int(position)
  if not 0 <= position < length:
    raise IndexError(f'Found position {position}; expected 0 to {length - 1}.')
  return position


def _features(builder: Any) -> Any:
  return builder.info.features


def open_split(
  builder: Any,
  split: str,
  *,
  memory: int = 2**30,
  folder: pathlib.Path | None = None,
) -> Source:
  """Opens a split, decoded into memory if it takes at most `memory` bytes.

  Args:
    builder: a `DatasetBuilder` of tensorflow-datasets.
    split: the name of the split.
    memory: the most bytes of decoded images to hold in memory.
    folder: where the decoded examples are kept for later runs, which then
      begin seconds earlier.

  Raises:
    UserError: the builder has no such split.
  """
  source = StoredSource(builder, split)
  size = int(np.prod(_features(builder)['image'].shape))
  if size * len(source) > memory:
    return source
  if folder is None:
    return in_memory(source)
  found = cache.kept(
    folder / f'{builder.builder_config.name}_{split}.npy',
    lambda: decoded(source),
    shape=(len(source),),
    dtype=source.dtype,
  )
  columns = {name: found[name] for name in source.dtype.names or ()}
  return MemorySource(columns, source.layouts)


def held(
  source: Source,
  *,
  size: int,
  memory: int,
  names: Sequence[str] | None = None,
) -> Source:
  """Decodes a source into memory if it takes at most `memory` bytes.

  Args:
    source: the examples.
    size: the bytes of an image.
    memory: the most bytes to hold.
    names: what `describe` calls the examples, if they have names of their own.
  """
  return in_memory(source, names) if size * len(source) <= memory else source


def in_memory(
  source: Source, names: Sequence[str] | None = None
) -> MemorySource:
  """Reads and decodes all examples of a source once, in threads.

  Args:
    source: the examples.
    names: what `describe` calls the examples, if they have names of their own.
  """
  parts = list(_blocks(source))
  columns = {
    name: np.concatenate([part[name] for part in parts]) for name in parts[0]
  }
  return MemorySource(columns, source.layouts, names)


def decoded(source: StoredSource) -> np.ndarray:
  """All examples of a source as one array of records, `source.dtype` each."""
  found, start = np.empty(len(source), source.dtype), 0
  for part in _blocks(source):
    end = start + len(part['index'])
    for name, column in part.items():
      found[name][start:end] = column
    start = end
  return found


def _blocks(source: Source) -> Iterator[dict[str, np.ndarray]]:
  """All examples of a source in order, read in threads."""
  blocks = [
    range(start, min(start + BLOCK, len(source)))
    for start in range(0, len(source), BLOCK)
  ]
  with ThreadPoolExecutor(workers.available_cores()) as threads:
    yield from threads.map(source.gather, blocks)


def subset(
  source: Source,
  count: int,
  layouts: Sequence[str] | None = None,
  *,
  draw: int | None = None,
) -> Subset:
  """The first `count` examples of any layout, or of the named layouts only.

  A smaller subset is therefore contained in a larger one of the same layouts.

  Args:
    source: the examples.
    count: their number.
    layouts: the names of the layouts; None takes any.
    draw: a seed, by which the examples are put in a random order first.

  Raises:
    UserError: a layout is unknown, or there are fewer than `count` such
      examples.
  """
  order = np.arange(len(source))
  if draw is not None:
    np.random.default_rng(draw).shuffle(order)
  if layouts is None:
    positions = order[:count].tolist()
  else:
    unknown = sorted(set(layouts) - set(source.layouts))
    if unknown:
      raise UserError(
        f'Found layouts {", ".join(unknown)}; expected some of '
        f'{", ".join(source.layouts)}.'
      )
    wanted = {source.layouts.index(layout) for layout in layouts}
    positions = []
    for position in order.tolist():
      if len(positions) == count:
        break
      if source.describe(position).layout in wanted:
        positions.append(position)
  if len(positions) < count or count < 1:
    kind = f' of the layouts {", ".join(layouts)}' if layouts else ''
    raise UserError(
      f'Found {len(positions)} examples{kind} among {len(source)}; expected '
      f'at least {max(1, count)}. Ask for fewer, or prepare more.'
    )
  return Subset(source, positions)
