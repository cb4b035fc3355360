"""Reads text files of whatever encoding."""

import codecs
import pathlib

from ssljax.errors import UserError

LARGEST = 2**26  # bytes of a table
MARKS = {
  codecs.BOM_UTF8: 'utf-8-sig',
  codecs.BOM_UTF32_LE: 'utf-32',  # begins like UTF-16, so it comes before it
  codecs.BOM_UTF32_BE: 'utf-32',
  codecs.BOM_UTF16_LE: 'utf-16',
  codecs.BOM_UTF16_BE: 'utf-16',
}
# How ZIP files, among them .xlsx and .ods, and old .xls files begin.
SHEETS = (b'PK\x03\x04', b'\xd0\xcf\x11\xe0')


def decoded(path: pathlib.Path) -> tuple[str, str]:
  """The text of a file, and the name of its encoding where it is a guess."""
  try:
    with path.open('rb') as file:
      data = file.read(LARGEST + 1)
  except OSError as error:
    raise UserError(
      f'Found {path} unreadable ({error.strerror}); expected a table of labels.'
      ' Check the file and its permissions.'
    ) from None
  if len(data) > LARGEST:
    raise UserError(
      f'Found {path} with more than {LARGEST:,} bytes; expected a table with '
      'one row for each image. Check that it is the right file.'
    )
  if data.startswith(SHEETS):
    raise UserError(
      f'Found a spreadsheet or a ZIP file in {path}; expected text. Save the '
      'sheet as CSV in UTF-8.'
    )
  for mark, encoding in MARKS.items():
    if data.startswith(mark):
      try:
        return data.decode(encoding).removeprefix('\ufeff'), ''
      except UnicodeDecodeError as error:
        raise UserError(
          f'Found {path} unreadable ({error}); expected text. Save it as UTF-8.'
        ) from None
  return guessed(data)


def guessed(data: bytes) -> tuple[str, str]:
  """As `decoded`, of a file that does not begin with a byte order mark."""
  half = len(data) // 2
  for encoding, zeros in (('UTF-16-LE', data[1::2]), ('UTF-16-BE', data[::2])):
    # The half of the bytes of ASCII characters in UTF-16 are 0.
    if half and zeros.count(0) > half / 2:
      try:
        return data.decode(encoding), encoding
      except UnicodeDecodeError:
        pass
  for encoding, guess in (('utf-8', ''), ('cp1252', 'cp1252')):
    try:
      return data.decode(encoding), guess
    except UnicodeDecodeError:
      pass
  return data.decode('latin-1'), 'latin-1'
