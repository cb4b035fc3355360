"""Reads image files: python -m ssljax.recognize WORKDIR image.png folder -

Each image gives a row, in the order of the arguments and as soon as it is read.
`docs/reading.md` describes the command.
"""

from ssljax import signals

if __name__ == '__main__':
  signals.end_at_once()  # the imports below take seconds

import argparse
import collections
import contextlib
import os
import pathlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ssljax import bars, process, rows
from ssljax import reader as reader_lib
from ssljax.data import inputs
from ssljax.data.files import printed
from ssljax.errors import DEBUG, UserError, told

ABOUT = """Reads the text in images with a trained run.

  python -m ssljax.recognize runs/mine scans/*.png
  python -m ssljax.recognize runs/mine scans --format=csv --output=out.csv
  python -m ssljax.recognize runs/mine scans --pattern=DDDD-DD --top=3"""
# Exit statuses, besides those that a shell knows of a signal.
ALL_READ, SOME_NOT_READ, MISTAKE = 0, 1, 2
INTERRUPTED, NOBODY_READS = 130, 141


def parser() -> argparse.ArgumentParser:
  made = argparse.ArgumentParser(
    prog='python -m ssljax.recognize',
    usage='python -m ssljax.recognize [options] WORKDIR IMAGES...',
    formatter_class=argparse.RawDescriptionHelpFormatter,
    description=ABOUT,
    epilog='Exit status: 0 if all images were read, 1 if some could not be '
    'read,\n2 for a mistake in the command.',
    allow_abbrev=False,
  )
  add = made.add_argument
  add(
    'workdir',
    metavar='WORKDIR',
    help='the folder of a run, or of a stage in it',
  )
  add(
    'images',
    metavar='IMAGES',
    nargs='+',
    help='image files and folders of images; - reads names from standard '
    'input, one a line',
  )
  add('--stage', help='that reads; by default the one that the run is for')
  add(
    '--format',
    choices=rows.FORMATS,
    default='text',
    help='of what is written; by default text',
  )
  add('--output', metavar='FILE', help='to write to, not standard output')
  add(
    '--resume',
    action='store_true',
    help='keep the rows of --output, and read only images without one',
  )
  add(
    '--top',
    type=positive,
    default=1,
    metavar='N',
    help='gives the N likeliest texts of an image, with probabilities',
  )
  add(
    '--characters',
    action='store_true',
    help='gives the confidence of each character, too',
  )
  add('--charset', default='', help='characters that may be read, as digits')
  add('--length', type=lengths, help='of the text, as 6 or 4-6')
  add('--pattern', default='', help='of the text, as DDDD-DD: D is a digit, L '
      'a letter, A either, ? anything')  # fmt: skip
  add(
    '--lexicon', metavar='FILE', help='the texts that may be read, one a line'
  )
  add(
    '--min_confidence',
    type=share,
    default=0.0,
    metavar='SHARE',
    help='leaves the text empty where the confidence, 0 to 1, is lower',
  )
  add(
    '--errors',
    choices=('skip', 'stop'),
    default='skip',
    help='what to do about an image that cannot be read; by default skip',
  )
  add('--debug', action='store_true', help=DEBUG)
  return made


def positive(text: str) -> int:
  if not text.isdigit() or int(text) < 1:
    raise argparse.ArgumentTypeError(f'found {text!r}; expected 1 or more')
  return int(text)


def lengths(text: str) -> tuple[int, int]:
  """'4-6' as (4, 6), '6' as (6, 6)."""
  least, _, most = text.partition('-')
  most = most or least
  if not (least.isdigit() and most.isdigit() and int(least) <= int(most)):
    raise argparse.ArgumentTypeError(
      f'found {text!r}; expected a number of characters, as 6, or the fewest '
      'and the most, as 4-6'
    )
  return int(least), int(most)


def share(text: str) -> float:
  with contextlib.suppress(ValueError):
    if 0 <= float(text) <= 1:
      return float(text)
  raise argparse.ArgumentTypeError(f'found {text!r}; expected 0 to 1')


def words(path: str) -> list[str]:
  """The lines of a lexicon, without those that are empty."""
  try:
    text = pathlib.Path(path).read_text(encoding='utf-8-sig')
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(
      f'Found the lexicon {path} unreadable ({error}); expected a file of '
      'UTF-8 text with one text a line.'
    ) from None
  found = [line.strip() for line in text.splitlines()]
  return [line for line in found if line]


def named(arguments: Sequence[str]) -> Iterator[Any]:
  """The files that the arguments stand for; an error for a folder of none."""
  for argument in arguments:
    if argument != '-':
      yield from inputs.each(os.path.expanduser(argument))
      continue
    for line in sys.stdin.buffer:
      name = os.fsdecode(line.rstrip(b'\r\n'))
      if name:
        yield from inputs.each(name)


def read(flags: argparse.Namespace) -> int:
  """Reads the images and writes the rows; returns the exit status."""
  if flags.resume and not flags.output:
    raise UserError(
      'Found --resume without --output; expected the file whose rows are to be '
      'kept. Name it by --output=FILE.'
    )
  reader = reader_lib.load(flags.workdir, stage=flags.stage)
  layout = rows.Layout(flags.format, flags.top, flags.characters)
  asked = collections.deque()  # the images that are being read
  options = {
    'top': flags.top,
    'charset': flags.charset,
    'length': flags.length,
    'pattern': flags.pattern,
    'lexicon': words(flags.lexicon) if flags.lexicon else None,
    'min_confidence': flags.min_confidence,
  }
  reader.outcomes((), **options)  # refuses before a file is overwritten
  with rows.opened(layout, flags.output, resume=flags.resume) as (write, kept):
    files = (file for file in named(flags.images) if str(file) not in kept)
    total = None
    if '-' not in flags.images:  # whose end may be far away
      files = list(files)
      total = len(files)
    counts = {'read': 0, 'abstained': 0, 'failed': 0}
    outcomes = reader.outcomes(noted(files, asked), **options)
    for outcome in with_bar(outcomes, total, flags):
      file = asked.popleft()
      if isinstance(outcome, UserError):
        counts['failed'] += 1
        print(f'Not read: {outcome}', file=sys.stderr)
        if flags.errors == 'stop':
          break
        continue
      counts['read'] += 1
      counts['abstained'] += outcome.confidence < flags.min_confidence
      write(str(file), outcome)
  return reported(counts, len(kept))


def noted(files: Iterable[Any], asked: collections.deque) -> Iterator[Any]:
  """The files, each of which is put on a list when it is asked for."""
  for file in files:
    asked.append(file)
    yield file


def with_bar(
  outcomes: Iterator[Any], total: int | None, flags: argparse.Namespace
) -> Iterator[Any]:
  """A bar on stderr when it takes long, unless the rows go there as well."""
  hidden = not flags.output and one_screen()
  with bars.bar('reading', total, unit='image', delay=2, disable=hidden) as bar:
    for outcome in outcomes:
      yield outcome
      bar.update()


def one_screen() -> bool:
  """Whether stdout and stderr are the same terminal or file."""
  with contextlib.suppress(OSError, ValueError):  # streams without a file
    return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
  return False


def reported(counts: dict[str, int], kept: int) -> int:
  """Says on stderr what is not as usual; returns the exit status."""
  said = [f'{counts["read"]:,} images read']
  if kept:
    said.append(f'{kept:,} kept from before')
  if counts['abstained']:
    said.append(f'{counts["abstained"]:,} of them left empty as doubtful')
  if counts['failed']:
    said.append(f'{counts["failed"]:,} could not be read')
  if len(said) > 1:
    print('; '.join(said) + '.', file=sys.stderr)
  return SOME_NOT_READ if counts['failed'] else ALL_READ


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command; returns its exit status."""
  flags = parser().parse_args(arguments)
  process.quiet()
  # A line, as all that is said; the place in the code would say nothing.
  warnings.formatwarning = lambda message, *_, **__: f'{message}\n'
  try:
    return read(flags)
  except UserError as error:
    said = told(error, debug=flags.debug)
    said = said if flags.debug else printed(said)  # names may have any sign
    print(said, file=sys.stderr)
    return MISTAKE
  except KeyboardInterrupt:
    print('Stopped; the rows so far are written.', file=sys.stderr)
    return INTERRUPTED
  except BrokenPipeError:
    # Python flushes at exit, and would complain once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    print('Stopped, because nobody reads the output.', file=sys.stderr)
    return NOBODY_READS


if __name__ == '__main__':
  with signals.interruptible():
    status = main()
  sys.exit(status)
