"""The model card of an export."""

import textwrap
from collections.abc import Mapping
from typing import Any

from ssljax.reports.tables import FEWEST, TOO_FEW, table

FIGURES = ('edit_distance_accuracy', 'exact_match', 'character_error_rate')

CARD = """# {title}

{what}

{use}

`model.json` has the frame, the characters, the temperature of the confidence,
the figures, and the config of the run. `digests.json` has the SHA-256 of each
file.

## Data

{data}

## Figures

{figures}

{told}

## What it cannot do

{limits}

## Where it is from

{origin}
"""
SHIPPED = """```
pip install numpy pillow onnxruntime
python onnx_reader.py image.png
```

Each line of the output has the file, the text and the confidence, the
probability of the text from 0 to 1. `onnx_reader.py` tells how to use it from
Python. """
LOADED = """```python
import ssljax

{call}
```

"""
TORCH = """```python
{code}
```

`model.safetensors` has the arrays by their names in torch. The pixels are
scaled to -1 to 1, which torch's users call a mean and a standard deviation of
0.5. `ssljax.load('.').encode(['image.png'])` gives the same features."""
TAKES = (
  'uint8 (batch, {height}, {width}, 3), and `widths`, int32 (batch,), the '
  'columns before the padding on the right; it gives `{output}`, float32 '
  '{shape}.'
)
READS = (
  'Characters that are not among those above, several lines, and text that is '
  'turned or stands upright. Text that is long for its height becomes small in '
  'the frame, and is read worse.'
)
ENCODES = (
  'It has no head, so it neither reads nor classifies. Its features are for '
  'images such as those that it has seen.'
)


def card(
  settings: Mapping[str, Any], counts: Mapping[str, int], parity: str
) -> str:
  """The text of the card.

  Args:
    settings: of `model.json`.
    counts: the images of each split that has been read.
    parity: how far the export is from the run.
  """
  reads, figures = settings['part'] == 'reader', settings['figures']
  fitted = (
    f'Every image is fitted to a frame of {settings["height"]} x '
    f'{settings["width"]} pixels'
  )
  if settings['characters']:
    fitted += ', its aspect kept'
  what = f'It turns an image into features. {fitted}.'
  if reads:
    characters = settings['characters']
    what = (
      f'It reads one line of text in an image: {len(characters)} characters, '
      f'`{characters}`. {fitted}.'
    )
  own = settings['config']['data'].get('directory')
  kind = "a folder of the user's images" if own else 'data that ssljax makes'
  if settings['config']['data'].get('dataset'):
    kind = f'the data set {settings["config"]["data"]["dataset"]}'
  data = (
    f'It was trained by ssljax on {kind}. Its last stage, '
    f'`{settings["stage"]}`, saw {figures["examples"]:,} examples in '
    f'{figures["steps"]:,} steps, with the labels of {figures["labels"]:,} '
    f'images, and cost {figures["flops"] / 1e12:.2f} TFLOP beside the stages '
    'before it. Images of other kinds are served worse, and the confidence of '
    'a reader tells this only in part.'
  )
  told = (
    '`fit` is images that it learned from, and all others are not. The figures '
    'are of one run: another seed, or other labels, would change them.'
  )
  error = figures.get('calibration', {}).get('ece', {}).get('after')
  if error is not None:
    told += f' The expected calibration error is {error:.3f}.'
  table_of_figures = _figures(figures, counts)
  if not table_of_figures:
    told = 'This stage was not judged by reading.'
  origin = (
    f'ssljax {settings["ssljax"]}, licence {settings["licence"]}. Compared '
    f'with the network of the run: {parity}.'
  )
  if 'loss' in settings:
    origin += ' ' + _rounded(settings)
  return CARD.format(
    title='A reader of text in images' if reads else 'An encoder of images',
    what=textwrap.fill(what, 80),
    use=_use(settings),
    data=textwrap.fill(data, 80),
    figures=table_of_figures,
    told=textwrap.fill(told, 80),
    limits=textwrap.fill(READS if reads else ENCODES, 80),
    origin=textwrap.fill(origin, 80),
  )


def _rounded(settings: Mapping[str, Any]) -> str:
  """What fewer bits save and cost."""
  size, whole = (
    f'{settings["bytes"][name] / 1e6:.2f} MB' for name in ('model', 'float32')
  )
  how = 'stored in float16 and computed in float32'
  if settings['precision'] == 'int8':
    how = 'stored and multiplied in int8'
  return (
    f'Its weights are {how}: `model.{settings["format"]}` has {size}, and has '
    f'{whole} in float32. What that costs: {settings["loss"]["told"]}.'
  )


def _use(settings: Mapping[str, Any]) -> str:
  """How to use an export of this format."""
  kind, reads = settings['format'], settings['part'] == 'reader'
  wide = kind == 'stablehlo' and settings['characters']
  takes = TAKES.format(
    height=settings['height'],
    width='width' if wide else settings['width'],
    output='logits' if reads else 'features',
    shape='(batch, frames, classes), of which class 0 is the blank of CTC'
    if reads
    else '(batch, ...)',
  )
  if kind == 'onnx':
    text = f'`model.onnx` takes `images`, {takes}'
    return (SHIPPED if reads else '') + text
  if 'torch' in settings:
    return TORCH.format(code=settings['torch'])
  call = "ssljax.load('.').recognize(['image.png'])"
  if not reads:
    call = "ssljax.load('.').encode(['image.png'])"
  kept = {
    'safetensors': '`model.safetensors` has the arrays by their names in the '
    'network, which ssljax makes of the config.',
    'stablehlo': '`model.stablehlo` is a program of `jax.export` for CPU, CUDA '
    f'and TPU. It takes images, {takes} A program is code: open it only if you '
    'trust where it is from.',
  }
  return LOADED.format(call=call) + textwrap.fill(kept[kind], 80)


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
  if not rows:
    return ''
  headers = 'split', 'images', *(name.replace('_', ' ') for name in FIGURES)
  return table(rows, headers)
