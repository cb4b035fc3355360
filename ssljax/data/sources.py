"""Random access to a prepared split.

A source is a sequence of examples, each a dict of `image` uint8 (height, width,
3), `index` int32, `text` str, `layout` int32 (a place in `source.layouts`) and
`extents` float32 (6, 2), padded with -1; a person's own have instead `width`
int32, the pixels before the padding on the right. `gather` reads many at once,
stacked. `name_of` is what an error calls an example.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from ssljax.data import workers
from ssljax.errors import UserError

# Records read and decoded together by a thread; large enough that the threads'
# own cost is small.
BLOCK = 256


class Source(Protocol):
  """What the pipeline needs of data."""

  layouts: Sequence[str]

  def __len__(self) -> int: ...

  def __getitem__(self, position: int) -> dict: ...

  def gather(self, positions: Sequence[int]) -> dict[str, np.ndarray]: ...

  def layout_of(self, position: int) -> int: ...

  def text_of(self, position: int) -> str: ...

  def width_of(self, position: int) -> int: ...

  def name_of(self, position: int) -> str: ...


def stack(examples: Sequence[dict]) -> dict[str, np.ndarray]:
  """Examples as one dict of arrays with a leading axis."""
  return {
    name: np.array([example[name] for example in examples])
    for name in examples[0]
  }


class StoredSource:
  """A split of a prepared builder; every access reads and decodes."""

  def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
    if split not in builder.info.splits:
      raise UserError(
        f'Found no split {split!r} in {builder.info.full_name}; expected one '
        f'of {", ".join(builder.info.splits)}. Prepare it with a count for '
        'this split.'
      )
    self.layouts = tuple(builder.info.features['layout'].names)
    self._width = builder.info.features['image'].shape[1]
    # The image stays PNG: only its few users need it decoded, and not here,
    # where tfds warns that OpenCV would be faster.
    self._records = builder.as_data_source(
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

  def gather(self, positions: Sequence[int]) -> dict[str, np.ndarray]:
    positions = [_inside(position, len(self)) for position in positions]
    records = self._records.__getitems__(positions)
    return stack([self._example(record) for record in records])

  def layout_of(self, position: int) -> int:
    return int(self._records[_inside(position, len(self))]['layout'])

  def text_of(self, position: int) -> str:
    return self._records[_inside(position, len(self))]['text'].decode()

  def width_of(self, position: int) -> int:
    return self._width

  def name_of(self, position: int) -> str:
    return f'example {position}'


class MemorySource:
  """Examples held decoded in memory, as one array a feature.

  `names` are what `name_of` says, where examples have names of their own.
  """

  def __init__(
    self,
    columns: dict[str, np.ndarray],
    layouts: Sequence[str],
    names: Sequence[str] | None = None,
  ):
    self.columns = columns
    self.layouts = tuple(layouts)
    self._names = names

  def __len__(self) -> int:
    return len(self.columns['index'])

  def __getitem__(self, position: int) -> dict:
    position = _inside(position, len(self))
    example = {name: column[position] for name, column in self.columns.items()}
    return example | {'text': str(example['text'])}

  def gather(self, positions: Sequence[int]) -> dict[str, np.ndarray]:
    positions = np.asarray(positions)
    return {name: column[positions] for name, column in self.columns.items()}

  def layout_of(self, position: int) -> int:
    return int(self.columns['layout'][position])

  def text_of(self, position: int) -> str:
    return str(self.columns['text'][position])

  def width_of(self, position: int) -> int:
    if 'width' in self.columns:
      return int(self.columns['width'][position])
    return self.columns['image'].shape[2]

  def name_of(self, position: int) -> str:
    return self._names[position] if self._names else f'example {position}'


class Subset:
  """Some examples of a source, by position."""

  def __init__(self, source: Source, positions: Sequence[int]):
    self.layouts = source.layouts
    self._source = source
    self._positions = np.asarray(positions)

  def __len__(self) -> int:
    return len(self._positions)

  def __getitem__(self, position: int) -> dict:
    position = _inside(position, len(self))
    return self._source[int(self._positions[position])]

  def gather(self, positions: Sequence[int]) -> dict[str, np.ndarray]:
    return self._source.gather(self._positions[np.asarray(positions)])

  def layout_of(self, position: int) -> int:
    return self._source.layout_of(int(self._positions[position]))

  def text_of(self, position: int) -> str:
    return self._source.text_of(int(self._positions[position]))

  def width_of(self, position: int) -> int:
    return self._source.width_of(int(self._positions[position]))

  def name_of(self, position: int) -> str:
    return self._source.name_of(int(self._positions[position]))


class Joined:
  """Sources one after another, as one.

  An example's `index` is its position here: random keys come from it, and those
  of two splits are the same numbers.
  """

  def __init__(self, parts: Sequence[Source]):
    layouts = {tuple(part.layouts) for part in parts}
    if len(layouts) != 1:
      raise ValueError(f'Found parts of layouts {layouts}; expected the same.')
    (self.layouts,) = layouts
    self._parts = parts
    self._starts = np.cumsum([0, *map(len, parts)])

  def __len__(self) -> int:
    return int(self._starts[-1])

  def _place(self, position: int) -> tuple[Source, int]:
    position = _inside(position, len(self))
    part = int(np.searchsorted(self._starts, position, side='right')) - 1
    return self._parts[part], position - int(self._starts[part])

  def __getitem__(self, position: int) -> dict:
    part, inside = self._place(position)
    return part[inside] | {'index': np.int32(position)}

  def gather(self, positions: Sequence[int]) -> dict[str, np.ndarray]:
    positions = np.asarray(positions)
    part_of = np.searchsorted(self._starts, positions, side='right') - 1
    order, found = np.argsort(part_of, kind='stable'), []
    for part in np.unique(part_of):
      inside = positions[part_of == part] - self._starts[part]
      found.append(self._parts[part].gather(inside))
    back = np.argsort(order)
    columns = {
      name: np.concatenate([part[name] for part in found])[back]
      for name in found[0]
    }
    return columns | {'index': positions.astype(np.int32)}

  def layout_of(self, position: int) -> int:
    part, inside = self._place(position)
    return part.layout_of(inside)

  def text_of(self, position: int) -> str:
    part, inside = self._place(position)
    return part.text_of(inside)

  def width_of(self, position: int) -> int:
    part, inside = self._place(position)
    return part.width_of(inside)

  def name_of(self, position: int) -> str:
    part, inside = self._place(position)
    return part.name_of(inside)


def _inside(position: int, length: int) -> int:
  """IndexError past the end, which also ends `for example in source`."""
  position = int(position)
  if not 0 <= position < length:
    raise IndexError(f'Found position {position}; expected 0 to {length - 1}.')
  return position


def open_split(
  builder: tfds.core.DatasetBuilder, split: str, *, memory: int = 2**30
) -> Source:
  """Opens a split, decoded into memory where that takes at most `memory` bytes.

  Raises:
    UserError: the builder has no such split.
  """
  source = StoredSource(builder, split)
  size = len(source) * int(np.prod(builder.info.features['image'].shape))
  return in_memory(source) if size <= memory else source


def in_memory(
  source: Source, names: Sequence[str] | None = None
) -> MemorySource:
  """All of a source, read and decoded once, by threads."""
  blocks = [
    range(start, min(start + BLOCK, len(source)))
    for start in range(0, len(source), BLOCK)
  ]
  with ThreadPoolExecutor(workers.available_cores()) as threads:
    parts = list(threads.map(source.gather, blocks))
  columns = {
    name: np.concatenate([part[name] for part in parts]) for name in parts[0]
  }
  return MemorySource(columns, source.layouts, names)


def subset(
  source: Source, count: int, layouts: Sequence[str] | None = None
) -> Subset:
  """The first `count` examples, of any layout or of the named ones only.

  A smaller subset is thus contained in a larger one of the same layouts.

  Raises:
    UserError: an unknown layout, or fewer than `count` such examples.
  """
  if layouts is None:
    positions = list(range(min(count, len(source))))
  else:
    unknown = sorted(set(layouts) - set(source.layouts))
    if unknown:
      raise UserError(
        f'Found layouts {", ".join(unknown)}; expected some of '
        f'{", ".join(source.layouts)}.'
      )
    wanted = {source.layouts.index(layout) for layout in layouts}
    positions = []
    for position in range(len(source)):
      if len(positions) == count:
        break
      if source.layout_of(position) in wanted:
        positions.append(position)
  if len(positions) < count or count < 1:
    kind = f' of the layouts {", ".join(layouts)}' if layouts else ''
    raise UserError(
      f'Found {len(positions)} examples{kind} among {len(source)}; expected '
      f'at least {count} and at least 1. Ask for fewer, or prepare more.'
    )
  return Subset(source, positions)
