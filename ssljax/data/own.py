"""Opens the user's images of text, and rendered text in the same frame.

The splits `rendered` and `rendered_validation` are for readers that start from
text whose labels cost nothing. Their texts have the characters and the lengths
of the user's labels, and their pictures the typical shape of the user's
pictures, so that they join with the user's images in one stage.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ssljax.data import folder, images, sources
from ssljax.data.clean import no_masks
from ssljax.data.frame import Fitted
from ssljax.data.layouts import LAYOUTS, UNSEEN_LAYOUTS
from ssljax.data.render import (
  LENGTHS,
  characters_of,
  check_lengths,
  narrowest,
)
from ssljax.data.survey import Survey
from ssljax.errors import UserError, check_known

# The renderer's split behind each split here. Both use all layouts.
RENDERED = {'rendered': 'train', 'rendered_validation': 'validation'}
VALIDATION = 20  # this many times fewer images validate


class Own:
  """The user's images of text, each of which is decoded once on opening.

  The interface is that of `datasets.Dataset`.
  """

  def __init__(
    self,
    *,
    data_dir: str,
    charset: str,
    rendered: int = 0,
    lengths: Sequence[int] = (),
    seed: int = 1,
    **options: Any,
  ):
    """Opens the folder; text is rendered only when a split of it is opened.

    Args:
      data_dir: the folder in which rendered images are kept.
      charset: the name of a charset, or the characters themselves; '' takes
        the characters of the labels.
      rendered: the number of images in `rendered`; `rendered_validation` has a
        twentieth of it. With 0 there are no such splits.
      lengths: the number of characters of the shortest and of the longest
        rendered text; () takes those of the labels, or 4 to 6 without labels.
      seed: the integer from which the text is rendered again.
      **options: arguments of `folder.open_folder`.

    Raises:
      UserError: as for `folder.open_folder`, or `lengths` are no range.
    """
    found = folder.open_folder(
      charset=characters_of(charset) if charset else '', **options
    )
    lengths = lengths_of(found, lengths)
    self._found, self._data_dir = found, data_dir
    self._recipe = {'lengths': lengths, 'seed': seed}
    self._counts = {'train': rendered, 'validation': -(-rendered // VALIDATION)}
    self.splits = (*found.splits, *(RENDERED if rendered else ()))
    self.skipped, self.note = found.skipped, found.fitted.note
    self.warnings = found.warnings
    self.resolved = {
      # Without labels no text is read but rendered text, which has to have a
      # charset that the user names. Otherwise any charset will do.
      'charset': charset or found.characters or 'digits',
      'max_length': max(found.max_length, lengths[1]),
      'contents': found.contents,
      'lengths': lengths,
      **found.fitted.frame._asdict(),
    }
    # The stages of a run share this cache, so that a split is decoded into
    # memory only once.
    self.open = functools.cache(self._open)

  def masks(self, split: str) -> np.ndarray:
    return no_masks()

  def files(self, split: str) -> Sequence[str]:
    places = self._found.splits.get(split, ())
    return [folder.printed(self._found.names[place]) for place in places]

  def survey(self) -> Survey:
    found = self._found

    def labels(split):
      names = [found.names[place] for place in found.splits[split]]
      return {
        name: found.labels[name].text for name in names if name in found.labels
      }

    return Survey(
      directory=str(found.directory),
      images=found.names,
      skipped=found.skipped,
      sizes=found.sizes,
      rows=found.rows,
      frame=(found.fitted.frame.height, found.fitted.frame.width),
      splits={
        split: labels(split) for split in found.splits if split != 'unlabeled'
      },
    )

  def _open(self, split: str) -> sources.Source:
    check_known('split', split, (*folder.SPLITS, *RENDERED))
    if split not in RENDERED:
      return self._found.open(split)
    if not self._counts['train']:
      raise UserError(
        f'Found no images to render for {split!r}; expected a number of them. '
        'Set it, for example --config.data.rendered=20000.'
      )
    source = Framed(
      sources.StoredSource(self._builder, RENDERED[split]), self._found.fitted
    )
    names = [source.name(place) for place in range(len(source))]
    return sources.held(
      source,
      size=self._found.fitted.frame.size,
      memory=self._found.memory,
      names=names,
    )

  @functools.cached_property
  def _builder(self) -> Any:
    # Late, as in `datasets.Rendered`.
    from ssljax.data import text_images

    found, lengths = self._found, self._recipe['lengths']
    if not found.characters:
      raise UserError(
        f'Found no labels in {found.directory}, whose characters the rendered '
        'text would have; expected a charset. Name it, as in '
        f':data={found.directory},charset=digits, or give the characters '
        'themselves.'
      )
    (height, _), typical, _ = found.fitted
    return text_images.prepare(
      data_dir=self._data_dir,
      counts=self._counts,
      charset=found.characters,
      height=height,
      width=max(typical, narrowest(height, lengths)),
      layouts=tuple(LAYOUTS),
      unseen_layouts=UNSEEN_LAYOUTS,
      **self._recipe,
    )


class Framed:
  """Rendered text as the user's pictures stand in their frame.

  Examples have what those of the user's images have, so that both can be
  joined.
  """

  def __init__(self, source: sources.Source, fitted: Fitted):
    self.layouts = source.layouts
    self._source, self._fitted = source, fitted

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, position: int) -> dict:
    example = self._source[position]
    return self._with(
      example,
      image=self._fit(example['image']),
      width=np.int32(self._fitted.typical),
    )

  def gather(self, positions: sources.Positions) -> dict[str, np.ndarray]:
    batch = self._source.gather(positions)
    return self._with(
      batch,
      image=np.stack([self._fit(image) for image in batch['image']]),
      width=np.full(len(positions), self._fitted.typical, np.int32),
    )

  def describe(self, position: int) -> sources.Description:
    return self._source.describe(position)._replace(
      name=self.name(position), width=self._fitted.typical
    )

  def name(self, position: int) -> str:
    return f'rendered example {position}'

  def _with(self, rendered: dict, **columns: Any) -> dict:
    names = ('index', 'text', 'layout')
    return {name: rendered[name] for name in names} | columns

  def _fit(self, pixels: np.ndarray) -> np.ndarray:
    frame, width = self._fitted.frame, self._fitted.typical
    # A text that is too long for the typical picture is rendered on a wider
    # picture, which is then made smaller as a whole.
    pixels, _ = images.fit(Image.fromarray(pixels), frame.height, width)
    return images.fit(Image.fromarray(pixels), *frame)[0]


def lengths_of(found: folder.Folder, lengths: Sequence[int]) -> tuple[int, int]:
  """The number of characters of the shortest and of the longest rendered text.

  Args:
    found: the folder. Without labels its `max_length` alone limits the lengths.
    lengths: what the user wants; () takes the lengths of the labels.

  Raises:
    UserError: `lengths` are no range.
  """
  if lengths:
    return check_lengths(lengths)
  of_labels = [len(label.text) for label in found.labels.values()]
  if of_labels:
    return min(of_labels), max(of_labels)
  shortest, longest = LENGTHS
  most = found.max_length or longest
  return min(shortest, most), min(longest, most)
