"""Mends the texts of labels, and suspects those that a spreadsheet changed."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

SHOWN = 8  # the most rows that one warning names
SPACES = re.compile('[\u00a0\u2007\u202f]')
# Characters without a width. Joiners (200C and 200D) matter between characters
# of some scripts, and are left there.
NOTHING = re.compile(
  '[\u200b\u2060\ufeff\u00ad\u200e\u200f\u202a-\u202e\u2066-\u2069]'
  '|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])'
)
# What no text in an image has: control characters, halves of characters, and
# line breaks.
NEVER = ('Cc', 'Cs', 'Zl', 'Zp')
MONTHS = 'jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec'
# What spreadsheets and programs make of codes.
BROKEN = {
  'numbers in scientific notation': r'\d([.,]\d+)?E[+-]\d+|\d[.,]\d+E\d+',
  'whole numbers with .0': r'\d+\.0',
  'an apostrophe before a number': r"'\d+",
  'dates': rf'\d\d?[-/. ]({MONTHS})[a-z]*|({MONTHS})[a-z]*[-/. ]\d\d(\d\d)?'
  rf'|\d\d?[-/.](\d\d?|{MONTHS})[-/.](\d\d)?\d\d'
  r'|\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?',
  'errors of a sheet': r'#(N/A|REF!|NAME\?|VALUE!|DIV/0!|NUM!|NULL!)|#{3,}',
  'empty cells of a program': r'NaN|nan|<NA>|NULL',
}
# Where most labels are dates, the images show dates; where some numbers have
# other decimals, the images show such numbers.
PRICE = re.compile(r'\d+[.,]\d*[1-9]')
MOST = 0.75  # the share of labels of one length that makes shorter ones odd
FEW = 8  # labels, with fewer of which lengths say nothing


def mended(text: str) -> tuple[str, list[str]]:
  """A text as it should be, and what was wrong with it."""
  said = []
  for pattern, instead, what in (
    (SPACES, ' ', 'no-break spaces became spaces'),
    (NOTHING, '', 'characters of no width were removed'),
  ):
    text, count = pattern.subn(instead, text)
    said += [what] if count else []
  if text != text.strip():
    text = text.strip()
    said.append('spaces around the text were removed')
  if not unicodedata.is_normalized('NFC', text):
    text = unicodedata.normalize('NFC', text)
    said.append('decomposed characters were composed (NFC)')
  return text, said


def unprintable(text: str) -> str:
  """The first character that no image can show, or ''."""
  return next((c for c in text if unicodedata.category(c) in NEVER), '')


def suspicions(texts: Mapping[int, str]) -> list[str]:
  """Says which texts look as if a spreadsheet had changed them.

  Args:
    texts: by row.
  """
  found = []
  for what, pattern in BROKEN.items():
    whole = re.compile(pattern, re.IGNORECASE if what == 'dates' else 0)
    rows = [row for row, text in texts.items() if whole.fullmatch(text)]
    common = what == 'dates' and 2 * len(rows) > max(len(texts), 2)
    if what.endswith('.0'):
      common = any(map(PRICE.fullmatch, texts.values()))
    if rows and not common:
      found.append((what, rows))
  short = shortened(texts)
  if short:
    found.append(('numbers that may have lost zeros in front', short))
  return [
    f'{what} ({shown([f"{row}: {texts[row]!r}" for row in rows])})'
    for what, rows in found
  ]


def shortened(texts: Mapping[int, str]) -> list[int]:
  """The rows whose numbers may have lost zeros in front.

  These are numbers that are shorter than nearly all the others, where no number
  is longer and none begins with 0.
  """
  numbers = {
    row: text
    for row, text in texts.items()
    if text.isascii() and text.isdigit()
  }
  lengths = Counter(map(len, numbers.values()))
  if len(numbers) < FEW or 2 * len(numbers) < len(texts):
    return []
  longest = max(lengths)
  if lengths[longest] < MOST * len(numbers):
    return []
  if any(text.startswith('0') for text in numbers.values()):
    return []
  return [row for row, text in numbers.items() if len(text) < longest]


def shown(words: Sequence[str]) -> str:
  """The first of some words, and how many more there are."""
  more = [f'and {len(words) - SHOWN} more'] if len(words) > SHOWN else []
  return ', '.join([*words[:SHOWN], *more])
