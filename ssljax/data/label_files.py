"""Finds the tables of labels of a folder, by their names or by the user's."""

import pathlib
from typing import NamedTuple

from ssljax.data.splits import split_named
from ssljax.errors import UserError, suggest

# A folder's own tables; capitals do not matter. ImageFolder's metadata comes
# second. `configs.common` has the same names.
NAMES = (
  ('labels.csv', 'labels.tsv', 'labels.txt', 'labels.jsonl', 'labels.json'),
  ('metadata.csv', 'metadata.jsonl'),
)
WAYS = ('names', 'folders')
# Other files that may well be tables of labels.
TABLES = ('.csv', '.tsv', '.jsonl')
SHEETS = ('.xlsx', '.xls', '.ods')  # of spreadsheet programs


class Plan(NamedTuple):
  """Where the labels of a folder are.

  Attributes:
    way: 'names' or 'folders' where these are the texts; otherwise ''.
    tables: of the folder itself.
    corrections: further tables, each of which corrects what is before it.
    warnings: what to tell the user.
  """

  way: str
  tables: list[pathlib.Path]
  corrections: list[pathlib.Path]
  warnings: list[str]


def plan(directory: pathlib.Path, labels: str) -> Plan:
  """Reads the option `labels` as `labels.read_labels` describes it.

  Raises:
    UserError: a table does not exist, or the folder has several of its own.
  """
  words = labels.split('+') if labels else []
  if labels and not found(directory, labels):
    ways = [word for word in words if word in WAYS]
    if len(ways) > 1:
      raise UserError(
        f'Found labels={labels}; expected names or folders, not both.'
      )
  else:
    ways, words = [], [labels] if labels else []
  corrections = [
    required(directory, word) for word in words if word and word not in WAYS
  ]
  if ways:
    return Plan(ways[0], [], corrections, [])
  tables, warnings = own_tables(directory)
  corrections = [
    path
    for path in corrections
    if not any(path.samefile(table) for table in tables)
  ]
  if not tables and not corrections:
    warnings += others(directory)
  return Plan('', tables, corrections, warnings)


def found(directory: pathlib.Path, word: str) -> pathlib.Path | None:
  """The table that the user names, by its path from here or in the folder."""
  path = pathlib.Path(word).expanduser()
  for each in (path, directory / path):
    try:
      if each.is_file():
        return each
    except (OSError, ValueError):  # a name that is no path
      pass
  return None


def required(directory: pathlib.Path, word: str) -> pathlib.Path:
  path = found(directory, word)
  if path is None:
    raise UserError(
      f'Found no file {word!r} for labels; expected the path of a table of '
      f'labels, or one of {", ".join(WAYS)}.{suggest(word, WAYS)}'
    )
  return path


def own_tables(
  directory: pathlib.Path,
) -> tuple[list[pathlib.Path], list[str]]:
  """The tables of the folder and of its splits, and what to tell the user."""
  folders = sorted(
    path
    for path in directory.iterdir()
    if split_named(path.name) and path.is_dir()
  )
  tables, warnings = [], []
  for folder in (directory, *folders):
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    groups = [
      [path for path in files if path.name.casefold() in names]
      for names in NAMES
    ]
    groups = [group for group in groups if group]
    if groups and len(groups[0]) > 1:
      raise UserError(
        f'Found {" and ".join(path.name for path in groups[0])} in {folder}; '
        'expected one table of labels. Remove or rename the others.'
      )
    tables += [group[0] for group in groups[:1]]
    warnings += [
      f'{groups[0][0].name} has the labels; {path.name} is not read.'
      for group in groups[1:]
      for path in group
    ]
  return tables, warnings


def others(directory: pathlib.Path) -> list[str]:
  """Names the files that may be tables of labels but are not read as such."""
  files = [path for path in sorted(directory.iterdir()) if path.is_file()]
  tables, sheets = (
    [path.name for path in files if path.suffix.lower() in suffixes]
    for suffixes in (TABLES, SHEETS)
  )
  said = []
  if tables:
    said.append(
      f'Found no labels.csv in {directory}, but {", ".join(tables[:5])}. If '
      f'this has the labels, add labels={tables[0]} behind the colon of '
      '--config.'
    )
  if sheets:
    said.append(
      f'Found no labels.csv in {directory}, but {", ".join(sheets[:5])}, which '
      'only a spreadsheet program reads. If this has the labels, open it there '
      'and save it as labels.csv in this folder (CSV in UTF-8).'
    )
  return said
