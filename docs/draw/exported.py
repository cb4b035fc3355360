"""Makes docs/exported.md from docs/results/exported.json.

  python docs/draw/exported.py           makes the page anew
  python docs/draw/exported.py --check   fails where it is of other results

benchmarks/exported.py writes the results. The prose of the page is in
docs/draw/exported_template.md.
"""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import written

from ssljax.records import read_json
from ssljax.reports.tables import table

DOCS = pathlib.Path(__file__).parents[1]
NAMES = {
  'float32': 'export, float32',
  'float16': 'export, float16',
  'int8': 'export, int8',
  'JAX': '`ssljax.load`, JAX on the CPU',
}
STEPS = {
  'file': 'decoding the file',
  'fit': 'fitting it to the frame',
  'network': 'the network',
  'all': 'the network, the text and its confidence',
}


def speeds(records: Sequence[Mapping[str, Any]]) -> str:
  """A row for each reader and frame."""
  rows = []
  for each in records:
    frame = 'x'.join(map(str, each['frame'])) if each['frame'] else 'its own'
    single, (one, two) = each['single'], each['cores'].values()
    size = each['bytes']
    rows.append(
      (
        NAMES.get(each['reader'], each['reader']),
        frame,
        f'{size / 1e6:.2f}' if size else '',
        f'{single["median"]:.2f} ({single["low"]:.2f} to {single["high"]:.2f})',
        f'{single["best"]:.2f}',
        f'{single["processor"]:.2f}',
        f'{one["median"]:.0f}',
        f'{two["median"]:.0f}',
        f'{two["best"]:.0f}',
        f'{two["processor"]:.2f}',
      )
    )
  return table(
    rows,
    (
      *('reader', 'frame', 'MB', 'ms of one image', 'the least'),
      *('of the processor', 'images/s, 1 core', '2 cores', 'the most'),
      'ms of the processor, each',
    ),
  )


def steps(records: Sequence[Mapping[str, Any]]) -> str:
  """What the steps of one read take in float32, at each frame."""
  found = [each for each in records if each['reader'] == 'float32']

  def cell(part: Mapping[str, float]) -> str:
    return f'{part["processor"]:.2f} ({part["best"]:.2f})'

  rows = [
    (text, *(cell(each['parts'][name]) for each in found))
    for name, text in STEPS.items()
  ]
  frames = ['x'.join(map(str, each['frame'])) for each in found]
  return table(rows, ('step', *(f'ms at {frame}' for frame in frames)))


def page(docs: pathlib.Path) -> str:
  """The text of docs/exported.md."""
  found = read_json(docs / 'results' / 'exported.json')
  text = (DOCS / 'draw' / 'exported_template.md').read_text(encoding='utf-8')
  marks = {
    'SPEEDS': speeds(found['records']),
    'STEPS': steps(found['records']),
    'PROCESSOR': found['processor'],
    'LOAD': f'{found["load"]:.0f}',
    'REPEATS': str(found['repeats']),
    'RUNTIME': found['onnxruntime'],
  }
  for mark, value in marks.items():
    text = text.replace(f'{{{mark}}}', value)
  return text


def main(arguments: Sequence[str], docs: pathlib.Path = DOCS) -> None:
  written.keep(
    {docs / 'exported.md': page(docs)},
    arguments,
    script='exported.py',
    sources=f'results than those in {docs / "results"}',
  )


if __name__ == '__main__':
  main(sys.argv[1:])
