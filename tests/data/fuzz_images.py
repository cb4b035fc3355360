"""Reads mutated image files: python tests/data/fuzz_images.py 10000

Each file has to be read, or refused by a BadImage. Prints the number of files
that were read, the longest time of one file, and the most memory of the process
(its start takes about 60 MB of that).
"""

import io
import pathlib
import random
import struct
import sys
import time
import warnings
import zlib

import numpy as np
from PIL import Image, ImageCms

from ssljax.data.images import BadImage, read_image, size_of

SIZE = (40, 24)
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def seeds() -> list[bytes]:
  """A sound file of every kind that the decoders tell apart."""
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
  rgb = Image.fromarray(pixels)
  clear = rgb.convert('RGBA')
  clear.putalpha(rgb.convert('L'))
  deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
  wide = Image.fromarray(pixels[..., 0].astype(np.int32))
  reals = Image.fromarray(pixels[..., 0].astype(np.float32))
  exif = Image.Exif()
  exif[0x0112], exif[0x010F] = 6, 'maker'
  profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
  profile = profile.replace(b's\0R\0G\0B', b'o\0t\0h\0e')
  both = {'exif': exif, 'icc_profile': profile}
  more = {'save_all': True, 'append_images': [rgb.convert('P')]}
  saved = [
    ('PNG', (rgb, clear, deep, rgb.convert('P'), rgb.convert('1')), {}),
    ('PNG', (rgb, clear), both),
    ('PNG', (rgb,), {'save_all': True, 'append_images': [rgb, rgb]}),
    ('JPEG', (rgb, rgb.convert('L'), rgb.convert('CMYK')), both),
    ('JPEG', (rgb,), {'progressive': True}),
    ('MPO', (rgb,), {'save_all': True, 'append_images': [rgb]}),
    ('BMP', (rgb, rgb.convert('P'), rgb.convert('1'), clear), {}),
    ('GIF', (rgb.convert('P'),), {}),
    ('GIF', (rgb.convert('P'),), more | {'transparency': 3}),
    ('WEBP', (rgb, clear), {}),
    ('WEBP', (rgb, clear), {'lossless': True} | both),
    ('WEBP', (rgb,), {'save_all': True, 'append_images': [rgb]}),
    ('TIFF', (rgb, clear, deep, wide, reals, rgb.convert('CMYK')), {}),
    ('TIFF', (rgb,), both | {'big_tiff': True}),
    ('TIFF', (rgb.convert('1'),), {'compression': 'group4'}),
  ]
  for method in ('tiff_lzw', 'tiff_adobe_deflate', 'jpeg', 'packbits', 'zstd'):
    saved.append(('TIFF', (rgb,), {'compression': method}))
  found = []
  for kind, pictures, options in saved:
    for picture in pictures:
      file = io.BytesIO()
      picture.save(file, format=kind, **options)
      found.append(file.getvalue())
  return found


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
  """The file with some damage; most of it near the head, which says most."""
  found = bytearray(data)
  for _ in range(rng.choice((1, 1, 2, 4, 16))):
    length = max(1, len(found))
    place = rng.randrange(min(length, rng.choice((64, 400, length))))
    kind = rng.randrange(6)
    if kind == 0:
      found[place : place + 1] = rng.randbytes(1)
    elif kind == 1:
      form = rng.choice('<>') + rng.choice('BHI')
      most = 256 ** struct.calcsize(form) - 1
      value = struct.pack(form, rng.choice(EXTREMES) & most)
      found[place : place + len(value)] = value
    elif kind == 2:
      del found[place : place + rng.choice((1, 4, 12, 200))]
    elif kind == 3:
      found[place:place] = rng.randbytes(rng.choice((1, 4, 12, 200)))
    elif kind == 4:
      del found[rng.randrange(length) :]
    else:
      other = rng.choice(others)
      start = rng.randrange(len(other))
      found[place:place] = other[start : start + rng.choice((8, 60, 500))]
  return _checked(bytes(found))


def _checked(data: bytes) -> bytes:
  """A PNG with right check sums; a wrong one hides what lies behind it."""
  if not data.startswith(b'\x89PNG\r\n\x1a\n'):
    return data
  found, place = [data[:8]], 8
  while place + 12 <= len(data):
    length = int.from_bytes(data[place : place + 4])
    body = data[place + 4 : place + 8 + length]
    if len(body) < 4 + length:
      break
    found += [
      data[place : place + 4],
      body,
      struct.pack('>I', zlib.crc32(body)),
    ]
    place += 12 + length
  return b''.join([*found, data[place:]])


def main() -> None:
  count = int(sys.argv[1])
  path = pathlib.Path(sys.argv[2])
  warnings.simplefilter('ignore')
  sound, rng = seeds(), random.Random(0)
  read = longest = 0
  for _ in range(count):
    data = mutated(rng.choice(sound), sound, rng)
    path.write_bytes(data)  # what the last failure was
    start = time.perf_counter()
    for function in (size_of, read_image):
      try:
        function(path)
        read += function is read_image
      except BadImage:
        pass
    longest = max(longest, time.perf_counter() - start)
  # Not `getrusage`, which counts the process that started this one as well.
  status = pathlib.Path('/proc/self/status').read_text()
  most = int(status.partition('VmHWM:')[2].split()[0]) / 2**10
  print(f'{read} of {count} read, {longest:.3f} s, {most:.0f} MB')


if __name__ == '__main__':
  main()
