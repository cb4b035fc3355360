"""Makes docs/methods/ and docs/which.md from templates and docs/results.

  python docs/draw/methods.py           makes the pages and their figures anew
  python docs/draw/methods.py --check   fails where one differs

A page is made of docs/draw/methods/NAME.md, and a figure of NAME.boxes there;
`boxes.py` says what its lines mean. In a page, `{reached: SimCLR}` becomes a
table of what the method reached, `{reached: triplets; N-pairs}` of what several
did, and `{text_30}` one of the tables of `TABLES`.
"""

import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import written
from boxes import svg
from folders import STARTS

from ssljax.records import read_json
from ssljax.reports.tables import shown, table

DOCS = pathlib.Path(__file__).parents[1]
READS, SUPERVISED = 'edit_distance_accuracy', 'supervised'
SAME = 'supervised, same labelled steps'
HEADERS = ('measured', 'labels', 'seeds', 'reached', 'beside it')
Results = Mapping[str, Any]


class Text(NamedTuple):
  """A table of methods on text, and the page that tells its protocol."""

  file: str
  setting: str
  page: str
  stages: Mapping[str, str]  # what a row's name ends in, and the row beside it


FINETUNED = {' + finetune': SAME}
TEXTS = (
  Text('text_methods_30_laptop', 'text', 'text_methods.md', FINETUNED),
  Text(
    'text_methods_30_laptop',
    'text, self-trained',
    'text_methods.md',
    {' + finetune + self-training': ''},
  ),
  Text(
    'text_methods_laptop', 'text, version 0.1.0', 'text_methods.md', FINETUNED
  ),
  Text(
    'article_table_laptop',
    'text in nine layouts, version 0.1.0',
    'article_table.md',
    {' + finetune': SUPERVISED},
  ),
)
IMAGES = ('images_glyphs', 'images_digits')
NOT_OTHERS = 'SimCLR', 'supervised, all labels', 'raw pixels', 'random encoder'


def results(docs: pathlib.Path, name: str) -> Any:
  return read_json(docs / 'results' / f'{name}.json')


def reached(docs: pathlib.Path, names: Sequence[str]) -> str:
  """The table of one method or of several."""
  rows = [
    (name, *row)
    for name in names
    for row in (*on_text(docs, name), *on_images(docs, name))
  ]
  if len(names) == 1:
    return table([row[1:] for row in rows], HEADERS)
  return table(rows, ('method', *HEADERS))


def on_text(docs: pathlib.Path, name: str) -> Iterable[tuple]:
  """Edit-distance accuracy on the test images of each table that has it."""
  for text in TEXTS:
    (group, *_) = results(docs, text.file).values()
    for suffix, other in text.stages.items():
      row = group['rows'].get(name + suffix)
      if row is None:
        continue
      figure = row['figures']['test'][READS]
      beside = None
      if other:
        value = group['rows'][other]['figures']['test'][READS]['value']
        beside = f'{value:.3f} supervised, same steps'
      setting = f'[{text.setting}](../{text.page})'
      seeds = len(figure['by_seed'])
      yield setting, str(row['labels']), str(seeds), shown(figure), beside


def on_images(docs: pathlib.Path, name: str) -> Iterable[tuple]:
  """Frozen features under a linear probe, and by kNN, beside raw pixels."""
  for file in IMAGES:
    rows = results(docs, file)['rows']
    if name not in rows:
      continue
    for probe, labels in (('linear, 5 a class', '5 a class'), ('kNN', 'all')):
      figure, pixels = (
        rows[each]['figures'][probe] for each in (name, 'raw pixels')
      )
      dataset = file.removeprefix('images_')
      yield (
        f'[`{dataset}`, {probe.split(",")[0]}](../images.md)',
        labels,
        str(len(figure['by_seed'])),
        shown(figure),
        f'{pixels["value"]:.3f} raw pixels',
      )


def labels_of_text(docs: pathlib.Path) -> str:
  """Each way to train by its number of labels, on all layouts."""
  found = [each for each in results(docs, 'labels') if each['layouts'] == 'all']
  return by_labels(found, 'labels')


def labels_of_images(docs: pathlib.Path) -> str:
  """The same on images, by labels of each class."""
  return by_labels(results(docs, 'labels_images'), 'labels_per_class')


def by_labels(found: Sequence[Results], count: str) -> str:
  names = list(dict.fromkeys(each['row'] for each in found))
  figures = {(each[count], each['row']): each for each in found}
  rows = [
    (str(labels), *(spread(figures.get((labels, name))) for name in names))
    for labels in sorted({each[count] for each in found})
  ]
  draws = sorted({len(each['seeds']) for each in found})
  return (
    table(rows, (count.replace('_per_', ' a '), *names))
    + '\n\nMean ± standard deviation over '
    + f'{" or ".join(map(str, draws))} draws of the labels.'
  )


def spread(record: Results | None) -> str | None:
  if record is None:
    return None
  value = record.get(READS, record.get('accuracy'))
  return f'{value:.3f} ± {record["sd"]:.3f}'


def read_30(docs: pathlib.Path) -> list[tuple]:
  """(method, finetuned, self-trained) with 30 labels, the best first."""
  rows = results(docs, 'text_methods_30_laptop')['30 labels']['rows']
  end = ' + finetune + self-training'
  read = {
    name.removesuffix(end): [
      rows[name.removesuffix(end) + stage]['figures']['test'][READS]['value']
      for stage in (' + finetune', end)
    ]
    for name in rows
    if name.endswith(end)
  }
  # SimCLR's first draw has the same labels, settings and seed.
  first = {
    each['row']: each['by_draw'][0]
    for each in results(docs, 'labels')
    if each['label_set'] == '30 labels'
  }
  read['SimCLR'] = [first['pretraining + finetune'], first['the whole recipe']]
  rows = [(name, *values) for name, values in read.items()]
  return sorted(rows, key=lambda row: -row[2])


def text_30(docs: pathlib.Path) -> str:
  headers = ('pretraining', 'finetuned', 'self-trained')
  return table(read_30(docs), headers)


def next_on_text(docs: pathlib.Path) -> str:
  """The two that read best beside SimCLR."""
  return best_two(read_30(docs), lambda row: row[2])


def next_on_images(docs: pathlib.Path) -> str:
  """The two of the highest mean probe beside SimCLR, of those on both."""
  rows = [row for row in probed_5(docs) if None not in row]
  return best_two(rows, lambda row: row[1] + row[2])


def best_two(rows: Iterable[tuple], key: Callable[[tuple], float]) -> str:
  names = [row[0] for row in sorted(rows, key=key, reverse=True)]
  first, second, *_ = [name for name in names if name not in NOT_OTHERS]
  return f'{first} or {second}'


def probed_5(docs: pathlib.Path) -> list[tuple]:
  """(features, glyphs, digits) with 5 labels a class, the best first."""
  glyphs, digits = (results(docs, each)['rows'] for each in IMAGES)
  probe = 'linear, 5 a class'
  rows = [
    (
      name,
      row['figures'][probe]['value'],
      digits[name]['figures'][probe]['value'] if name in digits else None,
    )
    for name, row in glyphs.items()
  ]
  return sorted(rows, key=lambda row: -row[1])


def images_5(docs: pathlib.Path) -> str:
  return table(probed_5(docs), ('features', '`glyphs`', '`digits`'))


def starts(docs: pathlib.Path) -> str:
  """How well readers of two folders read in the end, by how they began."""
  groups: dict[tuple, list[Results]] = {}
  for folder in ('captcha', 'handwriting'):
    for each in results(docs, folder):
      if each['stage'] in ('self_train', 'supervised'):
        if each['stage'] == SUPERVISED:
          kind = SUPERVISED
        elif each['start'] == 'default':
          kind = STARTS['default']
        else:
          kind = f'`start={each["start"]}`'
        groups.setdefault((folder, each['labels'], kind), []).append(each)
  rows = [
    (
      f'`{folder}`',
      str(labels),
      kind,
      str(len(group)),
      *(float(np.mean([each[name] for each in group])) for name in MEANS),
    )
    for (folder, labels, kind), group in sorted(groups.items())
  ]
  headers = ('folder', 'labels', 'start', 'draws', *MEANS.values())
  return table(rows, headers)


MEANS = {READS: 'edit-distance accuracy', 'exact_match': 'exact match'}
TABLES: dict[str, Callable[[pathlib.Path], str]] = {
  'text_30': text_30,
  'labels_of_text': labels_of_text,
  'labels_of_images': labels_of_images,
  'images_5': images_5,
  'starts': starts,
  'next_on_text': next_on_text,
  'next_on_images': next_on_images,
}


def made(docs: pathlib.Path) -> dict[pathlib.Path, str]:
  """The text of each file that this script makes."""
  files = {}
  for template in sorted((DOCS / 'draw' / 'methods').iterdir()):
    text = template.read_text(encoding='utf-8')
    if template.suffix == '.boxes':
      files[docs / 'methods' / f'{template.stem}.svg'] = svg(text)
      continue
    text = re.sub(
      r'\{reached: (.+?)\}',
      lambda found: reached(docs, found[1].split('; ')),
      text,
    )
    for name, function in TABLES.items():
      if (place := f'{{{name}}}') in text:
        text = text.replace(place, function(docs))
    folder = docs if template.stem == 'which' else docs / 'methods'
    files[folder / template.name] = text
  return files


def main(arguments: Sequence[str], docs: pathlib.Path = DOCS) -> None:
  templates = DOCS / 'draw' / 'methods'
  written.keep(
    made(docs),
    arguments,
    script='methods.py',
    sources=(
      f'templates or results than those in {templates} and {docs / "results"}'
    ),
  )


if __name__ == '__main__':
  main(sys.argv[1:])
