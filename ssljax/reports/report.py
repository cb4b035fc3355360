"""The sections of a report that the files of a run fill."""

import collections
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from ssljax import evals, workdir
from ssljax.evals.confusions import NONE, confusions, matrix
from ssljax.records import read_json, read_lines
from ssljax.reports import confidence, features, plots, readings, sheet
from ssljax.reports.page import Section, picture, plain, plot, table
from ssljax.reports.tables import FEWEST, TOO_FEW, Cells

LAST = 'Training', 'Data and stages', 'Cost'  # sections that end the page
MISTAKES = 15  # the most pairs of characters that are listed
SQUARES = 64  # the most characters of a picture of all pairs
# Curves that are drawn into the plot of another one.
BESIDE = {'loss_at_chance': 'loss', 'retrieval_chance': 'retrieval'}
BELIEFS = {
  'confidence': 'mean confidence of the labels that it gave itself',
  'agreement': 'share of the labelled images that the teacher reads right',
  'right': 'share that is right of the unlabelled images whose text or class '
  'the data tells',
}
Columns = Mapping[str, Sequence[str]]
Lines = Sequence[Mapping[str, Any]]


def headlines(results: Mapping[str, Any]) -> list[Cells]:
  """The table of images, or of each label set, which is its second column."""
  if 'rows' in results:
    rows = results['rows']
    return [features.figures_cells(rows)] if rows else []
  found = []
  for name in label_sets(results):
    cells, (first, *headers) = readings.figures_cells(results[name])
    cells = [(row, name, *others) for row, *others in cells]
    found.append((cells, (first, 'labels', *headers)))
  return found


def label_sets(results: Mapping[str, Any]) -> list[str]:
  return [name for name, part in results.items() if 'rows' in part]


def of_images(results: Mapping[str, Any]) -> Section:
  rows = results['rows']
  if not rows:
    return Section('Figures', features.NOTHING, [])
  blocks = [table(*features.figures_cells(rows))]
  if results['differences']:
    cells = features.differences_cells(results)
    blocks.append(table(*cells, caption=features.PAIRED))
  said = [features.told(rows), *features.alarms(rows)]
  return Section('Figures', ' '.join(said), blocks)


def figures(results: Mapping[str, Any]) -> Iterable[Section]:
  """The tables of `results.json`, of text or of images."""
  if 'rows' in results:
    yield of_images(results)
    return
  sets = label_sets(results)
  for name in sets:
    part = results[name]
    blocks = [
      table(*readings.figures_cells(part)),
      table(*readings.layouts_cells(part), caption=readings.PAIRED),
    ]
    first = next(iter(part['rows'].values()))
    if first['figures']['test']['count'] >= FEWEST:
      blocks += [table(*each) for each in confidence.cells(part['rows'])]
    yield Section(f'Figures: {name}', readings.told(part), blocks)
  curves = against_labels(results[name]['rows'] for name in sets)
  if curves:
    said = 'Edit-distance accuracy on the test images, against labels.'
    drawn = plots.against(curves, 'labels', 'edit distance accuracy')
    yield Section('Labels', '', [plot(drawn, said)])


def against_labels(
  parts: Iterable[Mapping[str, Any]],
) -> dict[str, tuple[list[int], list[float]]]:
  """By row, labels and accuracy, where there are several numbers of labels."""
  found: dict[str, list[tuple[int, float]]] = collections.defaultdict(list)
  for rows in parts:
    for name, row in rows.items():
      value = row['figures']['test']['edit_distance_accuracy']['value']
      found[name].append((row['labels'], value))
  curves = {}
  for name, points in found.items():
    labels, values = zip(*sorted(points), strict=True)
    # Sets of as many labels differ in something else, and are no curve.
    if 1 < len(labels) == len(set(labels)):
      curves[name] = list(labels), list(values)
  return curves


def training(stages: Mapping[str, Lines]) -> Section:
  """The loss and all that was watched, over the steps of each stage."""
  blocks = []
  for stage, lines in stages.items():
    panels: dict[str, dict[str, plots.Curve]] = {}
    for name, curve in curves_of(lines).items():
      title = BESIDE.get(name, name)
      panels.setdefault(title.replace('_', ' '), {})[name.replace('_', ' ')] = (
        curve
      )
    if panels:
      said = f'Stage {stage}, over {lines[-1]["step"]:,} steps.'
      blocks.append(plot(plots.curves(panels), said))
  about = 'Every plot has the steps of the stage across.'
  return Section('Training', about, blocks)


def curves_of(lines: Lines) -> dict[str, plots.Curve]:
  """(steps, values) by name, where the log has a number."""
  names = dict.fromkeys(name for line in lines for name in line)
  found = {}
  for name in names:
    if name in ('step', 'seconds'):
      continue
    pairs = [(line['step'], line[name]) for line in lines if name in line]
    found[name] = tuple(zip(*pairs, strict=True))
  return found


def together(runs: Mapping[str, Mapping[str, Lines]]) -> list[Markup]:
  """The losses of stages of one name in several runs."""
  panels: dict[str, dict[str, plots.Curve]] = {}
  for run, stages in runs.items():
    for stage, lines in stages.items():
      curve = curves_of(lines).get('loss')
      if curve:
        panels.setdefault(f'loss of {stage}', {})[run] = curve
  panels = {name: each for name, each in panels.items() if len(each) > 1}
  if not panels:
    return []
  return [plot(plots.curves(panels), 'Losses over steps, a line a run.')]


def _of_the_known(line: Mapping[str, Any]) -> dict[str, Any]:
  """A line whose 'right' is a share of the images whose truth is known."""
  known = line.get('truth_known')
  if known:
    return {**line, 'right': line['right'] / known}
  return {name: value for name, value in line.items() if name != 'right'}


def believed(stages: Mapping[str, Lines]) -> Section | None:
  """What self-training took its own labels to be worth."""
  panels: dict[str, dict[str, plots.Curve]] = {}
  for stage, lines in stages.items():
    found = curves_of([_of_the_known(line) for line in lines])
    for name in BELIEFS:
      if name in found and 'labelled_share' in found:
        panels.setdefault(name, {})[stage] = found[name]
  if not panels:
    return None
  about = '; '.join(f'{name}: {BELIEFS[name]}' for name in panels) + '.'
  drawn = plot(plots.curves(panels), 'Over the steps of self-training.')
  return Section(
    'What self-training believed', about[0].upper() + about[1:], [drawn]
  )


def groups(columns: Columns, stage: str) -> Section:
  """Figures of the test images by split, layout, length and character."""
  labels, read = columns['label'], columns['prediction']
  samples = evals.per_sample(read, labels)
  kinds: dict[str, Sequence[str]] = {
    'split': columns['split'],
    'layout': columns['layout'],
    'length': [f'{len(label):2}' for label in labels],
  }
  rows = []
  for kind, values in kinds.items():
    known = sorted(set(values) - {''})
    if len(known) < 2:
      continue
    for value in known:
      part = np.array([each == value for each in values])
      rows.append((
        f'{kind} {value.strip()}',
        int(part.sum()),
        float(samples.exact[part].mean()),
        float(samples.accuracies[part].mean()),
      ))  # fmt: skip
  blocks = []
  if rows:
    headers = 'images', 'count', 'exact match', 'edit distance accuracy'
    blocks.append(table(rows, headers))
  counts = confusions(read, labels)
  seen = collections.Counter()
  for (true, _), count in counts.items():
    seen[true] += count
  cells = [
    (
      _seen(each),
      seen[each],
      counts[each, each] / seen[each],
      counts[NONE, each],
    )
    for each in sorted(seen.keys() - {NONE})
  ]
  headers = 'character', 'in labels', 'read rightly', 'read where none is'
  blocks.append(table(cells, headers))
  about = f'By {stage}, of {len(labels):,} test images.'
  return Section('Where it reads well', about, blocks)


def mistakes(columns: Columns, stage: str) -> Section:
  """The characters that are taken for each other."""
  counts = confusions(columns['prediction'], columns['label'])
  total = sum(map(len, columns['label']))
  return confused(counts, f'{total:,} characters that {stage} has read')


def confused(
  counts: collections.Counter[tuple[str, str]], among: str
) -> Section:
  """What is taken for what, of `among`.

  Args:
    counts: of (true, read).
    among: how many there are: '1,000 characters'.
  """
  wrong = collections.Counter(
    {pair: count for pair, count in counts.items() if len(set(pair)) > 1}
  )
  if not wrong:
    return Section('Confusions', f'No mistakes in {among}.', [])
  rows = [
    (_seen(true) or '(nothing)', _seen(read) or '(left out)', count)
    for (true, read), count in wrong.most_common(MISTAKES)
  ]
  blocks = [table(rows, ('true', 'read as', 'times'))]
  square, names = matrix(counts)
  if len(names) <= SQUARES:
    said = 'Shares of what is true, a row each, taken for something else.'
    names = [_seen(name) or '(none)' for name in names]
    blocks.append(plot(plots.matrix(square, names), said))
  about = f'{wrong.total():,} mistakes in {among}.'
  return Section('Confusions', about, blocks)


def _seen(name: str) -> str:
  """A character or a class, also where it is a space."""
  return '\u2423' if name == ' ' else name


def sureness(columns: Columns, stage: str) -> Section:
  """Calibration, and what is gained by abstaining."""
  sure = np.array(columns['confidence'], float)
  if len(sure) < FEWEST:
    return Section('Confidence', f'{len(sure)} images: {TOO_FEW}.', [])
  pairs = zip(columns['prediction'], columns['label'], strict=True)
  right = np.array([read == label for read, label in pairs])
  said = (
    'Left: how often readings of a confidence are right; on the dashed line it '
    'is what it says. Right: exact match of the most confident images.'
  )
  about = f'Of {stage}, on {len(sure):,} test images.'
  return Section(
    'Confidence', about, [plot(plots.confidence(sure, right), said)]
  )


def cost(folder: pathlib.Path, stages: Mapping[str, Lines]) -> Section:
  """What each stage took."""
  rows = []
  for stage, lines in stages.items():
    done = read_json(folder / stage / 'stage.json')
    if not done.get('steps') or not lines:
      continue
    seconds = lines[-1]['seconds']
    rows.append((
      stage,
      done['steps'],
      done['examples'],
      done['labels'],
      f'{seconds:,.0f}',
      round(done['examples'] / max(seconds, 1e-9)),
      done['flops'] / 1e12,
    ))  # fmt: skip
  headers = 'stage', 'steps', 'examples', 'labels', 'seconds', 'images/s'
  about = 'Seconds and images/s count from the first step, with compilation.'
  return Section('Cost', about, [table(rows, (*headers, 'TFLOP'))])


def pretext(folder: pathlib.Path, stages: Iterable[str]) -> Section | None:
  """The last picture that each pretext task has made."""
  blocks = []
  for stage in stages:
    drawn = sorted((folder / stage / 'pictures').glob('*.png'))
    if drawn:
      said = f'Stage {stage} at step {int(drawn[-1].stem):,}.'
      with Image.open(drawn[-1]) as image:
        blocks.append(picture(image.convert('RGB'), said))
  about = (
    'A row an image: what the task was given, what it made of it, and what it '
    'should have made.'
  )
  return (
    Section('Pictures of the pretext task', about, blocks) if blocks else None
  )


def sheets(folder: pathlib.Path) -> Section | None:
  """Readings of images without labels, where there are none to test with."""
  blocks = []
  for stage, path in sheet.found(folder).items():
    with Image.open(folder / path) as image:
      blocks.append(picture(image.convert('RGB'), f'Readings of {stage}.'))
  about = 'There are no labelled images to test with.'
  return Section('Readings', about, blocks) if blocks else None


def summary(folder: pathlib.Path) -> Section | None:
  """What was said before the first step."""
  path = folder / 'summary.txt'
  if not path.exists():
    return None
  blocks = [plain(path.read_text(encoding='utf-8'))]
  if (folder / 'pictures.png').exists():
    with Image.open(folder / 'pictures.png') as image:
      said = 'Images of the folder, as they are fitted to the frame.'
      blocks.append(picture(image.convert('RGB'), said))
  return Section('Data and stages', '', blocks)


def of_files(folder: pathlib.Path, product: str) -> list[Section]:
  """All sections that need no more than the files of a run."""
  results = read_json(folder / 'results.json')
  recipe = [
    each
    for each in workdir.recipe_of(folder)
    if workdir.is_finished(folder / each)
  ]
  stages = {
    each: read_lines(folder / each / 'metrics.jsonl') for each in recipe
  }
  found = [*figures(results), training(stages), believed(stages)]
  read = folder / product / 'predictions.csv'
  if read.exists():
    columns = readings.columns_of(read)
    parts: Sequence[Callable[..., Section]] = groups, mistakes
    if 'confidence' in columns:
      parts = *parts, sureness
    found += [part(columns, product) for part in parts]
  found += [sheets(folder), pretext(folder, recipe)]
  found += [summary(folder), cost(folder, stages)]
  return [each for each in found if each is not None]
