"""A page on which the user mends labels, as one HTML file.

It needs no network and no program but a browser: pictures are part of the file.
"""

import base64
import hashlib
import html
import io
import pathlib
import string
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from PIL import Image

TEMPLATE = pathlib.Path(__file__).with_suffix('.html')
SIDES = (720, 120)  # the most pixels of a picture, (width, height)
COLUMN = 352  # pixels of a picture beside its field
QUALITIES = (85, 60, 30)
BYTES = 11_000  # of a picture: 300 of them are 4.4 MB as text
HEADINGS = {
  'wrong': (
    'Labels that may be wrong',
    'The reading is much more probable than the label. The least probable '
    'label comes first.',
  ),
  'next': (
    'Images to label next',
    'The reading is in doubt, and the image differs from those that have '
    'labels.',
  ),
  'rest': (
    'All other images',
    'The most doubtful comes first.',
  ),
}
NOTHING = 'There are none.'


class Item(NamedTuple):
  """What the page says of an image.

  Attributes:
    file: its name, as in a table of labels.
    label: its label; '' without one.
    reading: what was read.
    confidence: the probability of the reading.
    support: the probability of the label; 0 without one.
    picture: as from `thumbnail`.
  """

  file: str
  label: str
  reading: str
  confidence: float
  support: float
  picture: tuple[str, tuple[int, int]]


def thumbnail(
  image: Image.Image,
  *,
  sides: tuple[int, int] = SIDES,
  limit: int = BYTES,
) -> tuple[str, tuple[int, int]]:
  """A data URI of an RGB picture, and its width and height.

  It is a PNG, or a JPEG where that is smaller.

  Args:
    image: the picture.
    sides: the most pixels, (width, height).
    limit: bytes, above which the picture gets worse.
  """
  scale = min(1.0, *(a / b for a, b in zip(sides, image.size, strict=True)))
  if scale < 1:
    width, height = (max(1, round(scale * side)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.LANCZOS)
  kind, data = 'png', _encoded(image, 'PNG', optimize=True)
  for quality in QUALITIES:
    smaller = _encoded(image, 'JPEG', quality=quality)
    if len(smaller) < len(data):
      kind, data = 'jpeg', smaller
    if len(data) <= limit:
      break
  text = base64.b64encode(data).decode()
  return f'data:image/{kind};base64,{text}', image.size


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def page(
  sections: Mapping[str, Sequence[Item]],
  *,
  folder: str,
  reader: str,
  summary: str,
  characters: str = '',
) -> str:
  """The HTML of the page.

  Args:
    sections: the images under each of `HEADINGS`.
    folder: that the images are of. A browser keeps the corrections of a folder
      under its name, whichever run has read it.
    reader: what the readings are of.
    summary: a sentence for the user.
    characters: those that the labels have.
  """
  numeric = bool(characters) and set(characters) <= set(string.digits)
  parts, start = [], 0
  for name, items in sections.items():
    parts.append(_section(name, items, start, numeric))
    start += len(items)
  digest = hashlib.sha256(folder.encode(errors='surrogateescape')).hexdigest()
  return string.Template(TEMPLATE.read_text(encoding='utf-8')).substitute(
    title=html.escape(pathlib.PurePath(folder).name),
    key=f'ssljax labels {digest[:16]}',
    reader=html.escape(reader),
    summary=html.escape(summary),
    total=start,
    sections='\n'.join(parts),
  )


def _section(
  name: str, items: Sequence[Item], start: int, numeric: bool
) -> str:
  heading, told = HEADINGS[name]
  rows = [_item(item, start + i, numeric) for i, item in enumerate(items)]
  listed = '\n'.join(['<ol>', *rows, '</ol>']) if rows else f'<p>{NOTHING}</p>'
  return (
    f'<section aria-labelledby="{name}">\n'
    f'<h2 id="{name}">{heading} ({len(items)})</h2>\n<p>{told}</p>\n'
    f'{listed}\n</section>'
  )


def _item(item: Item, number: int, numeric: bool) -> str:
  file, label, reading = map(html.escape, (item.file, item.label, item.reading))
  (source, (width, height)), shown = item.picture, reading or '(nothing)'
  said = f'Read as <b>{shown}</b>, probability {_share(item.confidence)}.'
  take = ''
  if label and label != reading:
    said += (
      f' <span class="against">The label is <b>{label}</b>, probability '
      f'{_share(item.support)}.</span>'
    )
    take = '<button type="button" class="take">Take the reading</button>'
  elif label:
    said += ' The label says the same.'
  # Wider than its column beside the field.
  kind = 'item wide' if width > COLUMN else 'item'
  # So small that twice its size fits.
  if 2 * width <= COLUMN and 2 * height <= SIDES[1]:
    width, height = 2 * width, 2 * height
  mode = ' inputmode="numeric"' if numeric else ''
  return f"""\
<li class="{kind}" data-file="{file}" data-label="{label}" \
data-reading="{reading}">
<img src="{source}" width="{width}" height="{height}" loading="lazy" \
alt="{file}, read as {shown}">
<div>
<h3>{file}</h3>
<p class="said">{said}</p>
<label for="text-{number}">Text in {file}</label>
<div class="row">
<input id="text-{number}" value="{label or reading}" autocomplete="off" \
autocapitalize="off" autocorrect="off" spellcheck="false"{mode}>
<button type="button" class="accept">Accept</button>
{take}
<button type="button" class="undo" hidden>Undo</button>
</div>
<p class="state" role="status"></p>
</div>
</li>"""


def _share(value: float) -> str:
  """'0.42', or where that would be 0.00 or 1.00, on which side it lies."""
  if value < 0.01:
    return 'below 0.01'
  return 'above 0.99' if value > 0.99 else f'{value:.2f}'
