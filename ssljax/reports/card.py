"""The model card of an exported reader."""

import textwrap
from collections.abc import Mapping
from typing import Any

from ssljax.reports.tables import FEWEST, TOO_FEW, table

FIGURES = ('edit_distance_accuracy', 'exact_match', 'character_error_rate')

CARD = """# A reader of text in images

It reads one line of text in an image: {characters} characters, `{shown}`. Every
image is fitted to a frame of {height} x {width} pixels, its aspect kept.

```
pip install numpy pillow onnxruntime
python onnx_reader.py image.png
```

Each line of the output has the file, the text and the confidence, the
probability of the text from 0 to 1. `onnx_reader.py` tells how to use it from
Python. `reader.json` has the characters, the temperature of the confidence, and
the config of the run. `model.onnx` takes `images`, uint8 (batch, height, width,
3), and `widths`, int32 (batch,), the columns before the padding on the right;
it gives `logits`, float32 (batch, frames, classes), of which class 0 is CTC's
blank.

## Data

{data}

## Figures

{figures}

{told}

## What it cannot read

Characters that are not among those above, several lines, and text that is
turned or stands upright. Text that is long for its height becomes small in the
frame, and is read worse.

## Where it is from

{origin}
"""


def card(
  settings: Mapping[str, Any],
  figures: Mapping[str, Any],
  counts: Mapping[str, int],
  parity: Mapping[str, Any],
) -> str:
  """The text of the card.

  Args:
    settings: of `reader.json`.
    figures: of the stage's `stage.json`.
    counts: the images of each split that has been read.
    parity: how far the export is from the run's reader.
  """
  own = settings['config']['data'].get('directory')
  kind = "a folder of the user's images" if own else 'images of its renderer'
  data = (
    f'It was trained by ssljax on {kind}. Its last stage, '
    f'`{settings["stage"]}`, saw {figures["examples"]:,} examples in '
    f'{figures["steps"]:,} steps, with the labels of {figures["labels"]:,} '
    f'images, and cost {figures["flops"] / 1e12:.2f} TFLOP beside the stages '
    'before it. Images of other kinds are read worse, and the confidence tells '
    'this only in part.'
  )
  told = (
    '`fit` is images that it learned from, and all others are not. The figures '
    'are of one run: another seed, or other labels, would change them.'
  )
  error = figures.get('calibration', {}).get('ece', {}).get('after')
  if error is not None:
    told += f' The expected calibration error is {error:.3f}.'
  origin = (
    f'ssljax {settings["ssljax"]}, licence {settings["licence"]}. On '
    f'{parity["images"]} images this export and the reader of the run gave '
    f'{parity["texts"]} equal texts. Their logits differed by at most '
    f'{parity["logits"]:.1e} of the largest one, and their confidences by '
    f'{parity["confidence"]:.1e}.'
  )
  return CARD.format(
    characters=len(settings['characters']),
    shown=settings['characters'],
    height=settings['height'],
    width=settings['width'],
    data=textwrap.fill(data, 80),
    figures=_figures(figures, counts),
    told=textwrap.fill(told, 80),
    origin=textwrap.fill(origin, 80),
  )


def _figures(figures: Mapping[str, Any], counts: Mapping[str, int]) -> str:
  """A table of the figures; too few images have none."""
  rows = []
  for split, each in figures.items():
    if not (isinstance(each, dict) and set(FIGURES) <= each.keys()):
      continue
    count = counts.get(split)
    few = count is not None and count < FEWEST
    values = [TOO_FEW if few else f'{each[name]:.3f}' for name in FIGURES]
    rows.append((split, count, *values))
  headers = 'split', 'images', *(name.replace('_', ' ') for name in FIGURES)
  return table(rows, headers)
