"""Makes docs/folders.md from the results of the benchmarks on folders.

  python docs/draw/folders.py           makes the page anew
  python docs/draw/folders.py --check   fails where it is of other results

The results are docs/results/captcha.json and handwriting.json, which
benchmarks/captcha_folder.py and benchmarks/handwriting.py write. The prose of
the page is in docs/draw/folders_template.md.
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import written

from ssljax.records import read_json
from ssljax.reports.tables import table

DOCS = pathlib.Path(__file__).parents[1]
TEMPLATE = DOCS / 'draw' / 'folders_template.md'
NAMES = 'captcha', 'handwriting'
STARTS = {
  'default': 'as the config chooses',
  'pretrain': 'pretraining',
  'rendered': 'rendered text',
  'both': 'pretraining, then rendered text',
}
HEADERS = (
  *('labels', 'start', 'row', 'edit-distance accuracy', 'exact match'),
  *('TFLOP', 'draws'),
)


def rows(records: Sequence[dict[str, Any]]) -> list[tuple]:
  """A row for each number of labels, start and stage: means over the draws."""
  groups: dict[tuple, list[dict[str, Any]]] = {}
  for record in records:
    key = record['labels'], record['start'], record['row']
    groups.setdefault(key, []).append(record)
  order = list(STARTS)
  keys = sorted(groups, key=lambda key: (key[0], order.index(key[1])))
  return [
    (
      labels,
      STARTS[start],
      row,
      *(
        shown([record[name] for record in groups[labels, start, row]])
        for name in ('edit_distance_accuracy', 'exact_match')
      ),
      f'{np.mean([each["tflop"] for each in groups[labels, start, row]]):.1f}',
      len(groups[labels, start, row]),
    )
    for labels, start, row in keys
  ]


def shown(values: Sequence[float]) -> str:
  """The mean, and the standard deviation of several draws."""
  mean = f'{np.mean(values):.3f}'
  return f'{mean} ± {np.std(values, ddof=1):.3f}' if len(values) > 1 else mean


def page(docs: pathlib.Path) -> str:
  """The text of docs/folders.md."""
  text = TEMPLATE.read_text(encoding='utf-8')
  for name in NAMES:
    found = read_json(docs / 'results' / f'{name}.json')
    text = text.replace(f'{{{name}}}', table(rows(found), HEADERS))
  return text


def main(arguments: Sequence[str], docs: pathlib.Path = DOCS) -> None:
  written.keep(
    {docs / 'folders.md': page(docs)},
    arguments,
    script='folders.py',
    sources=f'results than those in {docs / "results"}',
  )


if __name__ == '__main__':
  main(sys.argv[1:])
