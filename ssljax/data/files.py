"""Finds the images in a folder.

Only files that are images, or whose names say so, count; what systems and
programs leave in folders is passed over.
"""

import pathlib
import stat
from collections.abc import Iterator, Sequence

from ssljax.data import magic
from ssljax.data.labels import shorten
from ssljax.errors import UserError

# A larger share of unusable files stops the run instead of leaving them out.
BAD_SHARE = 0.01
# Names that say that a file is an image, whatever it holds.
SUFFIXES = {
  f'.{name}'
  for names in (
    'png apng jpg jpeg jpe jfif jif bmp dib webp gif tif tiff',
    'heic heif avif jxl jp2 j2k jpf svg psd tga ppm pgm pbm pnm exr hdr',
    'dng cr2 cr3 nef arw orf rw2',
  )
  for name in names.split()
}
# Folders in which systems keep files of their own.
SYSTEM = {'__MACOSX', '@eaDir', '$RECYCLE.BIN', 'System Volume Information'}


def printed(name: str) -> str:
  r"""A file's name for people: what cannot be printed is escaped, as \xff."""
  data = name.encode(errors='surrogateescape').decode(errors='backslashreplace')
  return ''.join(
    each if each.isprintable() else each.encode('unicode_escape').decode()
    for each in data
  )


def list_files(directory: pathlib.Path) -> list[str]:
  """Lists the files of a folder that are images or whose names say so.

  Links to folders are followed, and each folder is entered once. Hidden files
  and folders are passed over, and those that systems make.

  Returns:
    Sorted paths, relative to the folder. Among them are files that cannot be
    used, such as a link to nothing, so that they are reported.

  Raises:
    UserError: the folder does not exist or has no such files.
  """
  if not directory.is_dir():
    what = 'a file' if directory.exists() else 'nothing'
    raise UserError(
      f'Found {what} at {directory}; expected a folder of images. Check the '
      'path.'
    )
  found, others = [], []
  for path in _walk(directory):
    (found if _claims(path) else others).append(path)
  if not found:
    suffixes = sorted({path.suffix for path in others if path.suffix})
    seen = f', only {len(others)} others' if others else ''
    if suffixes:
      seen += f' ({", ".join(map(printed, suffixes[:8]))})'
    raise UserError(
      f'Found no images in {directory}{seen}; expected some of '
      f'{", ".join(magic.FORMATS)} in it or in its subfolders. Put images '
      'there, or name another folder.'
    )
  return sorted(path.relative_to(directory).as_posix() for path in found)


def _walk(directory: pathlib.Path) -> Iterator[pathlib.Path]:
  """All files, and the folders that cannot be entered.

  Real folders come before links, so that a file has its real path where it has
  two. A link to a folder above this one would lead here again.
  """
  here = directory.resolve()
  entered = {_identity(each) for each in (here, *here.parents)}
  folders, links = [directory], []
  while folders or links:
    folder = folders.pop() if folders else links.pop(0)
    identity = _identity(folder)
    if folder != directory and identity in entered:
      continue
    entered.add(identity)
    try:
      entries = sorted(folder.iterdir())
    except OSError:
      yield folder
      continue
    for path in entries:
      if path.name.startswith('.') or path.name in SYSTEM:
        continue
      if not path.is_dir():
        yield path
      else:
        (links if path.is_symlink() else folders).append(path)


def _identity(path: pathlib.Path) -> tuple[int, int]:
  found = path.stat()
  return found.st_dev, found.st_ino


def _claims(path: pathlib.Path) -> bool:
  """Whether a file is an image, or its name says so."""
  if path.suffix.lower() in SUFFIXES or path.is_dir():
    return True
  try:
    # Opening a pipe would wait for ever.
    if not stat.S_ISREG(path.stat().st_mode):
      return False
    with path.open('rb') as file:
      return magic.kind_of(file.read(magic.HEAD)) in magic.IMAGES
  except OSError:
    return False


def check_skipped(
  directory: pathlib.Path, skipped: Sequence[tuple[str, str]], total: int
) -> None:
  """Raises a UserError if more than `BAD_SHARE` of the files are skipped.

  A few bad files may be left out silently, but many of them mean that
  something else is wrong, such as the folder.
  """
  if len(skipped) <= BAD_SHARE * total:
    return
  raise UserError(
    f'Found {len(skipped)} of {total} files in {directory} that cannot be '
    f'used; expected at most {BAD_SHARE:.0%}. Repair or remove them:\n  '
    + shorten([f'{printed(file)}: {why}' for file, why in skipped])
  )
