"""Tells what a file holds by its first bytes."""

# What can be read, as Pillow calls it.
FORMATS = ('PNG', 'JPEG', 'BMP', 'WEBP', 'GIF', 'TIFF')
HEAD = 32  # the bytes that are needed

_STARTS = {
  b'\x89PNG\r\n\x1a\n': 'PNG',
  b'\xff\xd8\xff': 'JPEG',
  b'GIF87a': 'GIF',
  b'GIF89a': 'GIF',
  b'II*\0': 'TIFF',
  b'MM\0*': 'TIFF',
  b'II+\0': 'TIFF',  # of more than 4 GB
  b'MM\0+': 'TIFF',
  b'8BPS': 'PSD',
  b'\0\0\0\x0cjP  ': 'JPEG 2000',
  b'\xff\x4f\xff\x51': 'JPEG 2000',
  b'\xff\x0a': 'JPEG XL',
  b'\0\0\0\x0cJXL ': 'JPEG XL',
  b'%PDF': 'PDF',
  b'PK\x03\x04': 'a ZIP archive',
  b'\x1f\x8b': 'a gzip file',
}
_BRANDS = {  # of the container that films and telephones use
  b'avif': 'AVIF',
  b'avis': 'AVIF',
  b'heic': 'HEIC',
  b'heix': 'HEIC',
  b'hevc': 'HEIC',
  b'mif1': 'HEIC',
  b'msf1': 'HEIC',
}
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
IMAGES = {*FORMATS, 'PSD', 'JPEG 2000', 'JPEG XL', 'AVIF', 'HEIC'}


def kind_of(head: bytes) -> str:
  """Names what a file holds.

  Args:
    head: its first `HEAD` bytes, or fewer if the file is shorter.

  Returns:
    One of `FORMATS`, or another name that a user knows; '' if it is unknown.
  """
  for start, kind in _STARTS.items():
    if head.startswith(start):
      return kind
  if head[:4] == b'RIFF' and head[8:12] == b'WEBP':
    return 'WEBP'
  if head[:2] == b'BM' and int.from_bytes(head[14:18], 'little') in (
    _BMP_HEADERS
  ):
    return 'BMP'
  if head[4:8] == b'ftyp':
    return _BRANDS.get(head[8:12], 'a film')
  text = head.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
  if text.startswith((b'<!doctype html', b'<html')):
    return 'a web page'
  return 'SVG' if text.startswith(b'<svg') else ''
