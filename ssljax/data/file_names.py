"""Finds the files that the rows of a table name, spelled a little otherwise."""

import difflib
import pathlib
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence

NEAR = 2000  # the most files among which a near name is looked for


class FileNames:
  """The files of a folder, found by names that people and programs write."""

  def __init__(self, files: Collection[str]):
    """Takes the names of the files, relative to the folder."""
    self._files = files
    self._folded: dict[str, list[str]] = defaultdict(list)
    self._stems: dict[str, list[str]] = defaultdict(list)
    for file in sorted(files):
      folded = _folded(file)
      self._folded[folded].append(file)
      self._stems[_bare(folded)].append(file)

  def exact(self, name: str, base: str = '') -> str:
    """The file of this very name, or ''.

    Args:
      name: relative to the folder, or to `base`.
      base: a folder in the folder, where the table is.
    """
    for path in (f'{base}/{name}' if base else name, name):
      plain = pathlib.PurePosixPath(path).as_posix()
      if plain in self._files:
        return plain
    return ''

  def find(self, name: str, base: str = '') -> str:
    """The only file that a name can mean, or ''.

    The name may have backslashes, other capitals, another suffix or none,
    spaces around it, or the path of the folder before it.
    """
    found = self._meant(name, base)
    return found[0] if len(found) == 1 else ''

  def near(self, name: str, base: str = '') -> list[str]:
    """The files that a name may mean, or whose names are most like it."""
    if found := self._meant(name, base):
      return list(found[:3])
    start = pathlib.PurePosixPath(name.replace('\\', '/')).name[:1].casefold()
    files = sorted(self._files)
    if len(files) > NEAR:
      names = ((file, pathlib.PurePosixPath(file).name) for file in files)
      files = [file for file, each in names if each[:1].casefold() == start]
    return difflib.get_close_matches(name[:200], files[:NEAR])

  def _meant(self, name: str, base: str) -> Sequence[str]:
    if found := self.exact(name, base):
      return [found]
    name = name.strip().replace('\\', '/').removeprefix('\ufeff')
    if not name.strip('./'):
      return []
    if found := self.exact(name, base) or self._absolute(name):
      return [found]
    folded = _folded(pathlib.PurePosixPath(name).as_posix())
    inside = [f'{_folded(base)}/{folded}', folded] if base else [folded]
    ways = [
      *(self._folded.get(path, ()) for path in inside),
      *(self._stems.get(path, ()) for path in inside),
      *(self._stems.get(_bare(path), ()) for path in inside),
    ]
    return next(filter(None, ways), [])

  def _absolute(self, name: str) -> str:
    """The file of a full path on this machine or on another one, or ''."""
    parts = pathlib.PurePosixPath(name).parts
    if not parts or not (parts[0].startswith('/') or parts[0].endswith(':')):
      return ''
    tails = ('/'.join(parts[at:]) for at in range(1, len(parts)))
    return next((tail for tail in tails if tail in self._files), '')


def _folded(name: str) -> str:
  return unicodedata.normalize('NFC', name).casefold()


def _bare(path: str) -> str:
  """A path without its suffix."""
  plain = pathlib.PurePosixPath(path)
  return str(plain.with_suffix('')) if plain.name else path
