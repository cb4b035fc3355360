"""What the scripts share that make pages: a page is written, or compared."""

import pathlib
import sys
from collections.abc import Mapping, Sequence


def keep(
  files: Mapping[pathlib.Path, str],
  arguments: Sequence[str],
  *,
  script: str,
  sources: str,
) -> None:
  """Writes files, or with `--check` exits with an error where one differs.

  Args:
    files: the text of each file by its path.
    arguments: those of the script.
    script: the name of the script, for the error.
    sources: what the files are made of: 'results than those in docs/results'.
  """
  if list(arguments) != ['--check']:
    for path, text in files.items():
      path.parent.mkdir(exist_ok=True)
      path.write_text(text, encoding='utf-8')
    return
  wrong = [
    path.name
    for path, text in files.items()
    if not path.exists() or path.read_text(encoding='utf-8') != text
  ]
  if wrong:
    sys.exit(
      f'Found {" and ".join(wrong)} of other {sources}; run python '
      f'docs/draw/{script} and commit what it writes.'
    )
