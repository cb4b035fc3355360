"""The blocks that the report is made of, as HTML."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup
from PIL import Image

from ssljax.reports.review import thumbnail
from ssljax.reports.tables import cell, is_numeric

ENVIRONMENT = jinja2.Environment(
  loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
  autoescape=True,
  trim_blocks=True,
  lstrip_blocks=True,
)
STRIP = 0.25  # the height of the characters below an image, as a share of its


class Section(NamedTuple):
  """A part of the page: a heading, a sentence or two, and what is shown."""

  title: str
  about: str
  blocks: Sequence[Markup]


class Part(NamedTuple):
  """The sections of one run, or of what several have in common."""

  name: str
  sections: Sequence[Section]
  place: int = 0


def page(title: str, about: str, parts: Sequence[Part]) -> str:
  """The whole page; it needs no other file and no network."""
  runs = [part._replace(place=place) for place, part in enumerate(parts)]
  template = ENVIRONMENT.get_template('report.html')
  return template.render(title=title, about=about, runs=runs)


def _block(name: str, *values: Any) -> Markup:
  """What a macro of blocks.html makes of the values."""
  blocks: Any = ENVIRONMENT.get_template('blocks.html').module
  return getattr(blocks, name)(*values)


def table(
  rows: Iterable[Iterable[Any]], headers: Sequence[str], caption: str = ''
) -> Markup:
  """A table that scrolls by itself where it is wider than the page."""
  rows = [list(row) for row in rows]
  numeric = [is_numeric(column) for column in zip(*rows, strict=True)]
  cells = [[cell(each) for each in row] for row in rows]
  return _block('table', cells, headers, numeric, caption)


def plot(svg: str, said: str) -> Markup:
  """A plot; `said` tells those who do not see it what it shows."""
  return _block('plot', Markup(svg), said)


def picture(image: Image.Image, said: str) -> Markup:
  """A picture in its own size, or smaller on a narrow page."""
  uri, (width, height) = thumbnail(image, sides=(1400, 1400), limit=300_000)
  return _block('picture', uri, width, height, said)


def plain(text: str) -> Markup:
  return _block('plain', text)


class Card(NamedTuple):
  """An image and what was read in it.

  Attributes:
    image: RGB.
    name: of its file or example.
    label: '' where it is not known.
    reading: the text.
    confidence: of the reading.
    frames: (place, character, probability) of the frames that say something;
      places go from 0 to 1 over the image.
  """

  image: Image.Image
  name: str
  label: str
  reading: str
  confidence: float
  frames: Sequence[tuple[float, str, float]] = ()


def cards(items: Iterable[Card]) -> Markup:
  """Images with their readings, and each frame's character below its place."""
  shown = []
  for item in items:
    uri, (width, height) = thumbnail(item.image)
    shown.append((item, uri, width, height, round(STRIP * height)))
  return _block('cards', shown)
