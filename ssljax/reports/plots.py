"""Plots of the report, as SVG that takes its colours from the page."""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from jaxtyping import Bool, Float, Int, Num
from matplotlib.figure import Figure

INK = '#010203'  # stands for the page's own colour of text
# Okabe and Ito's colours that tell apart on white and on black, for the colour
# blind too.
COLOURS = ('#2f7fc1', '#d55e00', '#009e73', '#cc79a7', '#b8860b', '#7a6ff0')
POINTS = 200  # the most of a curve
LONGEST = 24  # the most characters of a name
LINES = ('-', '--', ':', '-.')
STYLE: Any = {
  'svg.fonttype': 'none',  # the page's font; text stays text
  'svg.hashsalt': 'ssljax',
  'text.parse_math': False,  # names of the user may have a $
  'font.size': 9,
  'text.color': INK,
  'axes.edgecolor': INK,
  'axes.labelcolor': INK,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.prop_cycle': cycler(color=COLOURS),
  'axes.formatter.limits': (-4, 5),
  'xtick.color': INK,
  'ytick.color': INK,
  'legend.frameon': False,
}
Curve = tuple[Any, Any]  # steps, values: sequences of numbers


def svg(figure: Figure) -> str:
  """The figure as an element of a page."""
  file = io.StringIO()
  with warnings.catch_warnings():
    # The page's font draws the text, whatever matplotlib's own lacks.
    warnings.filterwarnings('ignore', message='Glyph')
    figure.savefig(
      file, format='svg', transparent=True, metadata={'Date': None}
    )
  text = file.getvalue()
  return text[text.index('<svg') :].replace(INK, 'currentColor')


def _figure(columns: int, rows: int = 1, size: tuple[float, float] = (3, 2)):
  figure = Figure(
    figsize=(columns * size[0], rows * size[1]), layout='constrained'
  )
  return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def curves(panels: Mapping[str, Mapping[str, Curve]]) -> str:
  """Small plots over steps, four beside each other.

  Args:
    panels: by title, (steps, values) by the name of each curve.
  """
  columns = min(4, len(panels))
  rows = -(-len(panels) // columns)
  with mpl.rc_context(STYLE):
    figure, axes = _figure(columns, rows, (2.6, 1.8))
    for axis in axes[len(panels) :]:
      axis.set_visible(False)
    for axis, (title, lines) in zip(axes, panels.items(), strict=False):
      axis.set_title(_said(title), fontsize=9)
      for (name, curve), style in zip(lines.items(), _styles(), strict=False):
        alone = 'o' if len(curve[0]) == 1 else ''  # no line would show it
        axis.plot(
          *_thinned(curve),
          style,
          linewidth=1.3,
          marker=alone,
          label=_said(name),
        )
      if len(lines) > 1:
        axis.legend(fontsize=7)
    return svg(figure)


def _said(name: str) -> str:
  """A name as matplotlib shows it; it hides those that begin with '_'."""
  name = name.encode(errors='backslashreplace').decode()
  if len(name) > LONGEST:  # the end of a path tells more
    name = f'…{name[-LONGEST:]}'
  return f'\u200b{name}' if name.startswith('_') else name


def _styles() -> Iterator[str]:
  while True:
    yield from LINES


def _thinned(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
  """The curve at `POINTS` steps, means of those between."""
  steps, values = (np.asarray(each, float) for each in curve)
  parts = np.array_split(np.arange(len(steps)), min(POINTS, len(steps)))
  return (
    np.array([steps[part[-1]] for part in parts]),
    np.array([values[part].mean() for part in parts]),
  )


def against(curves: Mapping[str, Curve], across: str, up: str) -> str:
  """One plot of several curves with a point for each value."""
  with mpl.rc_context(STYLE):
    figure, (axis,) = _figure(1, size=(5.2, 3.2))
    for name, (x, y) in curves.items():
      axis.plot(x, y, 'o-', label=_said(name))
    axis.set(xlabel=across, ylabel=up, xscale='symlog')
    axis.legend()
    return svg(figure)


def confidence(
  sure: Float[np.ndarray, 'images'], right: Bool[np.ndarray, 'images']
) -> str:
  """Exact match in tenths of confidence, and of the most confident images."""
  with mpl.rc_context(STYLE):
    figure, (left, other) = _figure(2, size=(3.4, 2.8))
    bins = np.minimum((10 * sure).astype(int), 9)
    filled = sorted(set(bins))
    left.plot([0, 1], [0, 1], '--', color=INK, linewidth=0.8)
    left.bar(
      [each / 10 + 0.05 for each in filled],
      [right[bins == each].mean() for each in filled],
      width=0.09,
    )
    left.set(xlabel='confidence', ylabel='exact match', xlim=(0, 1))
    left.set_ylim(0, 1.02)
    covered = right[np.argsort(-sure, kind='stable')].cumsum()
    counts = np.arange(1, len(right) + 1)
    other.plot(*_thinned((counts / len(right), covered / counts)))
    other.set(xlabel='share of the images that is read', xlim=(0, 1))
    other.set_ylabel('exact match of these')
    return svg(figure)


def matrix(counts: Int[np.ndarray, 'n n'], names: Sequence[str]) -> str:
  """Shares of each row, a square each; the diagonal is left out.

  The last row, what is read where no character is, are shares of all others.
  """
  whole = counts.sum(axis=1, keepdims=True)
  whole[-1] = whole[:-1].sum()
  share = counts / np.maximum(whole, 1)
  np.fill_diagonal(share, np.nan)
  side = max(2.5, 0.19 * len(names) + 0.8)
  with mpl.rc_context(STYLE):
    figure, (axis,) = _figure(1, size=(side + 0.8, side))
    image = axis.pcolormesh(share, cmap='Blues', vmin=0, rasterized=True)
    places, shown = np.arange(len(names)) + 0.5, list(map(_said, names))
    turned = 90 if max(map(len, names)) > 2 else 0
    axis.set_xticks(places, shown, rotation=turned)
    axis.set_yticks(places, shown)
    axis.tick_params(length=0, labelsize=8)
    axis.invert_yaxis()
    axis.set(xlabel='read as', ylabel='true', aspect='equal')
    figure.colorbar(image, shrink=0.6)
    return svg(figure)


def scatter(points: Num[np.ndarray, 'n 2'], names: Sequence[str]) -> str:
  """A map of points, each shown as its name, in a colour for each name."""
  known = sorted(set(names))
  colours = {name: COLOURS[k % 6] for k, name in enumerate(known)}
  with mpl.rc_context(STYLE):
    figure, (axis,) = _figure(1, size=(6.4, 5))
    axis.set_axis_off()
    low, high = points.min(axis=0), points.max(axis=0)
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    place: Any
    for place, name in zip(points, names, strict=True):
      axis.text(*place, _said(name), fontsize=7, color=colours[name])
    return svg(figure)
