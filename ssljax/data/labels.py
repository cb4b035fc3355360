"""Finds what the images of a folder say: in tables, file names or folders."""

import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ssljax.data import label_files, mending
from ssljax.data.file_names import FileNames
from ssljax.data.label_tables import (
  Label,
  contradiction,
  contradicts,
  of_table,
)
from ssljax.data.splits import split_named, split_of_folder
from ssljax.errors import UserError

SHOWN = 20  # the most files or rows that one error message names


class Labels(NamedTuple):
  """What is known of the images of a folder.

  Attributes:
    found: the labels by file name.
    warnings: lines for the user about what was guessed or mended.
    splits: 'train', 'validation' or 'test' by file name, where a table says it.
  """

  found: dict[str, Label]
  warnings: tuple[str, ...] = ()
  splits: Mapping[str, str] = {}


def shorten(lines: Sequence[str]) -> str:
  """Joins the first `SHOWN` lines and says how many more there are."""
  more = [f'and {len(lines) - SHOWN} more'] if len(lines) > SHOWN else []
  return '\n  '.join([*lines[:SHOWN], *more])


def read_labels(
  directory: pathlib.Path,
  files: Collection[str],
  charset: str = '',
  max_length: int = 0,
  labels: str = '',
) -> Labels:
  """Reads the labels of a folder.

  Args:
    directory: the folder.
    files: the names of its images, relative to the folder.
    charset: the characters that labels may have; '' allows every character.
    max_length: the most characters that a label may have; 0 allows any length.
    labels: where the labels are. '' looks for a table such as `labels.csv` in
      the folder. 'names' takes the text before the first `_` of each file name,
      and 'folders' the name of each image's folder. A path names a table whose
      rows are added and correct the others: later rows replace earlier ones,
      and an empty text removes a label. '+' joins several of these.

  Raises:
    UserError: there is no such table, a table cannot be read, or some of its
      rows cannot be used; the error names these rows and the reasons.
  """
  names = FileNames(files)
  plan = label_files.plan(directory, labels)
  found, warnings = from_names(files, plan.way) if plan.way else ({}, [])
  warnings, splits, wrong = plan.warnings + warnings, {}, []
  for path in (*plan.tables, *plan.corrections):
    corrects = path in plan.corrections
    base = '' if corrects else path.parent.relative_to(directory).as_posix()
    base = base.removeprefix('.')
    part = of_table(path, names, base=base, corrects=corrects)
    wrong += part.wrong
    warnings += part.warnings
    if corrects:
      warnings.append(corrected(path.name, found, part.found))
    else:
      wrong += [
        f'{label.where}, {name!r}: {contradiction(found[name], label)}'
        for name, label in part.found.items()
        if name in found and contradicts(found[name], label)
      ]
    said = {
      name: label
      for name, label in part.found.items()
      if label.text or corrects
    }
    found = {
      name: label for name, label in (found | said).items() if label.text
    }
    if split := split_named(base):
      splits |= dict.fromkeys(part.found, split)
    splits |= part.splits
  wrong += [
    f'{label.where}, {name!r}: {why}'
    for name, label in found.items()
    if (why := mistake(label.text, charset, max_length))
  ]
  if wrong:
    raise UserError(
      f'Found {len(wrong)} rows of the labels of {directory} that cannot be '
      'used; correct or remove them:\n  ' + shorten(wrong)
    )
  return Labels(found, tuple(warnings), splits)


def from_names(
  files: Collection[str], way: str
) -> tuple[dict[str, Label], list[str]]:
  """The labels that the names of files or folders are, and what to tell."""
  found, changed, bare = {}, [], []
  for file in sorted(files):
    path = pathlib.PurePosixPath(file)
    if way == 'names':
      text, mark, _ = path.stem.partition('_')
      bare += [] if mark else [file]
    else:
      text = path.parent.name
      if len(path.parts) == 2 and split_of_folder(file):
        text = ''  # the folder is a split, such as test
    text, said = mending.mended(text)
    changed += [file] if said else []
    if text:
      found[file] = Label(text, 0, f'the text in its {way.removesuffix("s")}')
  said = []
  if changed:
    said.append(
      f'The texts of {len(changed)} names had stray spaces, invisible or '
      f'decomposed characters, which were mended: {mending.shown(changed)}.'
    )
  if bare and len(bare) < len(files):
    said.append(
      f'{len(bare)} file names have no _, so their whole names are the texts: '
      f'{mending.shown(bare)}.'
    )
  return found, said


def corrected(
  table: str, before: Mapping[str, Label], after: Mapping[str, Label]
) -> str:
  """Says what a table of corrections does to the labels."""
  new = {name: label for name, label in after.items() if name not in before}
  added = sum(bool(label.text) for label in new.values())
  removed = sum(
    not label.text for name, label in after.items() if name in before
  )
  changed = sum(
    bool(label.text) and label.text != before[name].text
    for name, label in after.items()
    if name in before
  )
  return (
    f'{table} adds {added} labels, changes {changed} and removes {removed}.'
  )


def mistake(text: str, charset: str, max_length: int) -> str:
  """Says why a label cannot be used, or returns ''.

  Args:
    text: the label.
    charset: the characters that labels may have; '' allows every character.
    max_length: the most characters that a label may have; 0 allows any length.
  """
  for character in text if charset else '':
    if character not in charset:
      return (
        f'found {character!r} (U+{ord(character):04X}) in the label {text!r}, '
        f'expected characters of {charset!r}'
      )
  if max_length and len(text) > max_length:
    return (
      f'found {len(text)} characters in the label {text!r}, expected at most '
      f'{max_length}'
    )
  return ''
