"""Files of every kind, whole and broken, and how they are framed."""

import io
import os
import pathlib
import re
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from ssljax.data import colours, images
from ssljax.data.images import BadImage, fit, read_image, size_of, to_rgb
from ssljax.data.magic import FORMATS

RNG = np.random.default_rng(0)


def _picture(height=20, width=30):
  ramp = np.linspace(0, 255, width)[None, :, None]
  tint = np.array([1.0, 0.7, 0.4])
  pixels = np.broadcast_to(ramp * tint, (height, width, 3))
  return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize('name', ['picture.png', 'picture.JPG', 'picture'])
@pytest.mark.parametrize('kind', FORMATS)
def test_the_content_decides_whatever_the_name(tmp_path, kind, name):
  path = tmp_path / name
  _picture().save(path, format=kind)
  found = read_image(path)
  assert size_of(path) == found.size
  assert found.mode == 'RGB'
  assert found.size == (30, 20)
  difference = np.abs(np.asarray(found, int) - np.asarray(_picture(), int))
  assert difference.mean() < 8  # what JPEG and a palette lose


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'RGB', 'RGBA', 'LA', 'CMYK'])
def test_every_mode_is_read(mode):
  gray = _picture().convert('L').convert('RGB')
  found = to_rgb(gray.convert(mode))
  assert found.mode == 'RGB'
  found, gray = np.asarray(found, float), np.asarray(gray, float)
  # Two modes have few colours and dither; their means over areas stay.
  found, gray = (x.reshape(4, 5, 6, 5, 3).mean((1, 3)) for x in (found, gray))
  assert np.abs(found - gray).max() < (45 if mode in ('1', 'P') else 3)


def _saved(tmp_path, values, name='deep.png'):
  path = tmp_path / name
  Image.fromarray(values).save(path)
  return path


@pytest.mark.parametrize('bits', [8, 12, 16])
def test_sixteen_bits_are_scaled_by_what_the_file_holds(tmp_path, bits):
  """Programs save pictures of 8 and 12 bits as 16, which showed black."""
  ramp = np.linspace(0, 2**bits - 1, 16)
  values = ramp.astype(np.uint16)[None].repeat(4, axis=0)
  found = np.asarray(read_image(_saved(tmp_path, values)))
  expected = np.linspace(0, 255, 16)[None, :, None]
  assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize(
  ('values', 'expected'),
  [
    (np.array([0.0, 0.5, 1.0], np.float32), (0, 127, 255)),
    (np.array([0.0, 100.0, np.nan, 255.0], np.float32), (0, 100, 0, 255)),
    (np.array([-100, 0, 155], np.int32), (0, 100, 255)),
    (np.array([0, 2**31 - 1], np.int32), (0, 127)),
  ],
)
def test_floats_and_wide_integers_are_scaled(tmp_path, values, expected):
  path = _saved(tmp_path, values[None].repeat(3, axis=0), 'a.tiff')
  found = np.asarray(read_image(path))
  assert np.abs(found[1, :, 0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
  ('ink', 'ground'), [(0, 255), (90, 255), (200, 0), (255, 0)]
)
@pytest.mark.parametrize('soft', [False, True])
def test_the_ground_is_chosen_against_the_visible_pixels(
  tmp_path, ink, ground, soft
):
  """A stroke on transparency that has its own colour, as editors save it."""
  pixels = np.full((20, 30, 4), ink, np.uint8)
  pixels[..., 3] = 0
  pixels[5:15, 10:12, 3] = 255
  if soft:
    pixels[5:15, 12, 3] = 60
  found = np.asarray(read_image(_saved(tmp_path, pixels)))
  assert (found[0, 0] == ground).all()
  assert (found[8, 10] == ink).all()


def test_the_ground_stays_white_where_something_is_seen_on_it(tmp_path):
  """White letters with a dark edge; a window's picture with round corners."""
  for ink in (np.s_[4:16, 9:13], np.s_[9:10, 5:25]):
    pixels = np.full((20, 30, 4), 255, np.uint8)
    pixels[ink] = (20, 20, 20, 255)
    pixels[5:15, 10:12] = 255
    pixels[:2, :2, 3] = 0
    found = np.asarray(read_image(_saved(tmp_path, pixels)))
    assert (found[0, 0] == 255).all()


def test_the_ground_of_a_large_picture(tmp_path, monkeypatch):
  """Some of its pixels decide for all of them."""
  monkeypatch.setattr(colours, 'LOOKED_AT', 100)
  pixels = np.full((40, 60, 4), 255, np.uint8)
  pixels[..., 3] = 0
  pixels[10:30, 20:30, 3] = 255
  found = np.asarray(read_image(_saved(tmp_path, pixels)))
  assert (found[0, 0] == 0).all() and (found[20, 25] == 255).all()


def test_a_transparent_colour_of_a_palette(tmp_path):
  image = Image.new('P', (4, 4), 0)
  image.putpalette([10, 20, 30] + [0] * 765)
  path = tmp_path / 'clear.gif'
  image.save(path, transparency=0)
  assert (np.asarray(read_image(path)) == 255).all()


def _other_profile():
  """A profile whose red is sRGB's blue, by its bytes."""
  data = bytearray(
    ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
  )
  places = {}
  for entry in range(132, 132 + 12 * int.from_bytes(data[128:132]), 12):
    places[bytes(data[entry : entry + 4])] = entry + 4
  red, blue = places[b'rXYZ'], places[b'bXYZ']
  data[red : red + 8], data[blue : blue + 8] = (
    data[blue : blue + 8],
    data[red : red + 8],
  )
  return (
    bytes(data).replace(b's\0R\0G\0B', b'o\0t\0h\0e').replace(b'sRGB', b'othe')
  )


def test_colours_are_converted_from_their_profile(tmp_path):
  path = tmp_path / 'a.png'
  red = Image.new('RGB', (8, 8), (255, 0, 0))
  red.save(path, icc_profile=_other_profile())
  found = np.asarray(read_image(path), int)
  assert np.abs(found - (0, 0, 255)).max() <= 2
  red.convert('L').save(path, icc_profile=_other_profile())
  found = np.asarray(read_image(path), int)
  assert np.abs(found - 76).max() <= 2
  clear = Image.new('RGBA', (8, 8), (255, 0, 0, 255))
  clear.putpixel((0, 0), (255, 0, 0, 0))
  clear.save(path, icc_profile=_other_profile())
  found = np.asarray(read_image(path), int)
  assert np.abs(found[1:] - (0, 0, 255)).max() <= 2
  assert (found[0, 0] == 255).all()


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
def test_a_broken_profile_or_one_of_another_mode_is_left_out(tmp_path, mode):
  image = _picture().convert(mode)
  path = tmp_path / 'a.jpg'
  image.save(path)
  expected = np.asarray(read_image(path))
  profiles = [b'no profile', _other_profile()[:-40]]
  if mode == 'CMYK':
    profiles.append(_other_profile())
  for profile in profiles:
    image.save(path, icc_profile=profile)
    np.testing.assert_array_equal(np.asarray(read_image(path)), expected)


def test_the_first_frame_of_an_animation(tmp_path):
  frames = [Image.new('RGB', (8, 8), colour) for colour in ('red', 'blue')]
  path = tmp_path / 'moving.gif'
  frames[0].save(path, save_all=True, append_images=frames[1:])
  assert np.asarray(read_image(path))[0, 0].tolist() == [255, 0, 0]


def test_the_first_page_of_a_scan(tmp_path):
  pages = [Image.new('RGB', (8, 9), colour) for colour in ('red', 'blue')]
  path = tmp_path / 'scan.tif'
  pages[0].save(path, save_all=True, append_images=pages[1:])
  assert np.asarray(read_image(path))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  for name in ('a.jpg', 'a.png', 'a.webp'):
    path = tmp_path / name
    _picture().save(path, exif=exif)
    with Image.open(path) as image:
      expected = ImageOps.exif_transpose(image).convert('RGB')
    found = read_image(path)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    assert size_of(path) == found.size


def _exif(*entries):
  """EXIF of one directory of (tag, type, count, four bytes)."""
  body = b'II*\0' + struct.pack('<IH', 8, len(entries))
  for tag, kind, count, value in sorted(entries):
    body += struct.pack('<HHI', tag, kind, count) + value
  return b'Exif\0\0' + body + struct.pack('<I', 0)


@pytest.mark.parametrize(
  'odd',
  [
    (0x0100, 2, 4, b'120\0'),  # the width, as text
    (0x0100, 11, 1, struct.pack('<f', 120.5)),
    (0x011A, 2, 4, b'72\0\0'),  # the resolution, as text
    (0x9286, 99, 4, b'none'),
  ],
)
def test_odd_exif_still_turns_the_picture(tmp_path, odd):
  path = tmp_path / 'odd.jpg'
  turned = (0x0112, 3, 1, struct.pack('<HH', 6, 0))
  _picture().save(path, exif=_exif(turned, odd))
  assert read_image(path).size == size_of(path) == (20, 30)


@pytest.mark.filterwarnings('ignore:Corrupt EXIF')
@pytest.mark.parametrize(
  'exif',
  [
    b'Exif\0\0',
    b'Exif\0\0II*\0\xff\xff\xff\xff',
    _exif((0x0112, 2, 4, b'six\0')),
    _exif((0x0112, 3, 0, b'\6\0\0\0')),
    _exif((0x0112, 3, 1, struct.pack('<HH', 77, 0))),
  ],
)
def test_exif_that_says_nothing_leaves_the_picture_as_it_is(tmp_path, exif):
  path = tmp_path / 'odd.jpg'
  _picture().save(path, exif=exif)
  assert read_image(path).size == size_of(path) == (30, 20)


@pytest.mark.parametrize('error', [struct.error('s'), TypeError(), KeyError()])
def test_exif_that_cannot_be_read_at_all_is_left_out(
  tmp_path, monkeypatch, error
):
  path = tmp_path / 'odd.jpg'
  _picture().save(path)

  def fail(image):
    raise error

  monkeypatch.setattr(Image.Image, 'getexif', fail)
  assert read_image(path).size == size_of(path) == (30, 20)


@pytest.mark.parametrize(
  'error', [struct.error('s'), TypeError(), IndexError(), MemoryError()]
)
def test_whatever_a_decoder_raises_is_of_the_image(
  tmp_path, monkeypatch, error
):
  path = tmp_path / 'a.png'
  _picture().save(path)

  def fail(image):
    raise error

  monkeypatch.setattr(PngImagePlugin.PngImageFile, 'load', fail)
  with pytest.raises(BadImage, match=r'found it unreadable|too little memory'):
    read_image(path)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp', '.webp', '.gif'])
@pytest.mark.parametrize('part', [0.5, 0.9])
def test_a_truncated_file(tmp_path, suffix, part):
  pixels = RNG.integers(0, 256, (40, 60, 3)).astype(np.uint8)
  path = tmp_path / f'cut{suffix}'
  Image.fromarray(pixels).save(path)
  path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
  with pytest.raises(BadImage, match=r'found .* replace it'):
    read_image(path)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', '^found no image in it; expected one of PNG, .*; replace the file'),
    (b'hello', 'found no image'),
    (b'<!DOCTYPE html><html>', 'found a web page in it; .*; convert the file'),
    (b'\0\0\0\x18ftypheic\0\0\0\0', 'found HEIC in it'),
    (b'%PDF-1.7', 'found PDF in it'),
    (b'\x89PNG\r\n\x1a\n', 'found its first bytes damaged|unreadable'),
  ],
)
def test_what_is_no_image_says_what_it_is(tmp_path, content, message):
  path = tmp_path / 'text.png'
  path.write_bytes(content)
  for read in (read_image, size_of):
    with pytest.raises(BadImage, match=message):
      read(path)


def test_bytes_and_open_files_are_read(tmp_path):
  path = tmp_path / 'a.png'
  _picture().save(path)
  with path.open('rb') as file:
    found = [read_image(file), read_image(path.read_bytes())]
  for image in found:
    np.testing.assert_array_equal(np.asarray(image), np.asarray(_picture()))


def test_only_regular_files_are_opened(tmp_path):
  os.mkfifo(tmp_path / 'pipe.png')
  (tmp_path / 'link.png').symlink_to(tmp_path / 'nowhere')
  (tmp_path / 'folder.png').mkdir()
  for path, message in (
    (tmp_path / 'pipe.png', '^found a pipe; expected a file$'),
    (tmp_path / 'link.png', '^found a link that leads to no file'),
    (tmp_path / 'folder.png', '^found a folder; expected a file$'),
    ('/dev/zero', '^found a device'),
    (tmp_path / 'none.png', r'unreadable \(No such file.*check the path'),
    ('a\0b', 'unreadable .*check the path'),
  ):
    for read in (read_image, size_of):
      with pytest.raises(BadImage, match=message):
        read(path)


def test_a_jpeg_with_more_pictures_in_it_is_a_jpeg(tmp_path):
  # As telephones write them; Pillow calls the format MPO.
  path = tmp_path / 'photo.jpg'
  more = [Image.new('RGB', (8, 8), 'blue')]
  red = Image.new('RGB', (8, 8), (250, 0, 0))
  red.save(path, format='MPO', save_all=True, append_images=more)
  with Image.open(path) as image:
    assert image.format == 'MPO'
  found = np.asarray(read_image(path), int)
  assert np.abs(found - (250, 0, 0)).max() < 8


def test_only_the_named_formats_are_decoded(tmp_path):
  # Not even looked at: the decoders of others are not trusted.
  path = tmp_path / 'scan.png'
  for kind in ('PPM', 'ICO', 'JPEG2000', 'PDF'):
    _picture().save(path, format=kind)
    with pytest.raises(BadImage, match=r'expected one of PNG, JPEG'):
      read_image(path)


@pytest.mark.parametrize('factor', [1, 10])
def test_a_decompression_bomb(tmp_path, factor):
  """A header of a few bytes that asks for gigabytes."""
  side = int((1.5 * factor * Image.MAX_IMAGE_PIXELS) ** 0.5)
  header = struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)
  file = io.BytesIO(b'\x89PNG\r\n\x1a\n')
  file.seek(0, io.SEEK_END)
  for name, data in ((b'IHDR', header), (b'IDAT', b''), (b'IEND', b'')):
    check = struct.pack('>I', zlib.crc32(name + data))
    file.write(struct.pack('>I', len(data)) + name + data + check)
  path = tmp_path / 'bomb.png'
  path.write_bytes(file.getvalue())
  with pytest.raises(BadImage, match=r'more than .* pixels'):
    read_image(path)


def test_a_bomb_is_refused_where_nobody_listens_to_warnings(
  tmp_path, monkeypatch
):
  # Up to twice its limit Pillow only warns.
  path = tmp_path / 'large.png'
  _picture(20, 30).save(path)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 599)
    with pytest.raises(BadImage, match='more than 599 pixels'):
      read_image(path)
    for enough in (600, None):
      monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', enough)
      assert read_image(path).size == (30, 20)


@pytest.mark.parametrize(
  ('mode', 'limit'),
  [('RGB', 4), ('L', 5), ('I;16', 10), ('RGBA', 16), ('LA', 20)],
)
def test_what_would_take_too_much_memory_is_not_decoded(
  tmp_path, monkeypatch, mode, limit
):
  """Known by the head of the file, for every mode by what it takes."""
  path = tmp_path / 'large.png'
  Image.new(mode, (30, 20)).save(path)
  monkeypatch.setattr(images, 'MEMORY', 600 * limit)
  assert read_image(path).size == size_of(path) == (30, 20)
  monkeypatch.setattr(images, 'MEMORY', 600 * limit - 1)
  for read in (read_image, size_of):
    with pytest.raises(BadImage, match=r'found 30 x 20 pixels.* MB to decode'):
      read(path)
  monkeypatch.setattr(images, 'MEMORY', path.stat().st_size - 1)
  with pytest.raises(BadImage, match='found a file of'):
    read_image(path)


def test_reading_leaves_the_filters_of_warnings_alone(tmp_path, monkeypatch):
  # They are of the whole process, and threads that set them undo each other.
  path = tmp_path / 'a.png'
  _picture().save(path)

  def touched(*arguments, **options):
    raise AssertionError('the filters were changed')

  with monkeypatch.context() as patch:
    patch.setattr(warnings, 'catch_warnings', touched)
    patch.setattr(warnings, 'simplefilter', touched)
    assert read_image(path).size == (30, 20)


@pytest.mark.parametrize(
  ('options', 'limit'),
  [({}, 4), ({'progressive': True}, 8), ({'exif': _exif()}, 8)],
)
def test_what_decoding_takes_beside_the_picture_counts(
  tmp_path, monkeypatch, options, limit
):
  path = tmp_path / 'large.jpg'
  _picture(200, 300).save(path, **options)
  monkeypatch.setattr(images, 'MEMORY', 60_000 * limit)
  assert read_image(path).size == (300, 200)
  monkeypatch.setattr(images, 'MEMORY', 60_000 * limit - 1)
  with pytest.raises(BadImage, match='MB to decode'):
    read_image(path)


def test_mutated_files_are_read_or_refused(tmp_path):
  """SSLJAX_FUZZ=10000 tries more of them, in about a minute."""
  count = os.environ.get('SSLJAX_FUZZ', '300')
  script = pathlib.Path(__file__).with_name('fuzz_images.py')
  # In a process of its own, because decoders may end theirs.
  done = subprocess.run(
    [sys.executable, script, count, tmp_path / 'file'],
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  figures = re.fullmatch(
    r'(\d+) of \d+ read, (\S+) s, (\d+) MB', done.stdout.strip()
  )
  assert figures, done.stdout
  read, longest, most = map(float, figures.groups())
  assert read > 0.1 * int(count)
  assert longest < 2 and most < 1024


def test_a_picture_of_the_frames_size_stays_as_it_is():
  pixels = RNG.integers(0, 256, (32, 96, 3)).astype(np.uint8)
  found, width = fit(Image.fromarray(pixels), 32, 96)
  np.testing.assert_array_equal(found, pixels)
  assert width == 96


@pytest.mark.parametrize(
  ('size', 'shown'),
  [((30, 60), (32, 64)), ((64, 128), (32, 64)), ((10, 300), (3, 96))],
)
def test_the_aspect_is_kept(size, shown):
  """Height and width of a red picture, and of what shows of it."""
  red = Image.new('RGB', size[::-1], (200, 0, 0))
  # A border of its own, which is what the padding looks like.
  pixels = np.array(red)
  pixels[[0, -1]] = pixels[:, [0, -1]] = (0, 90, 0)
  pixels[size[0] // 4 : -size[0] // 4, size[1] // 4 : -size[1] // 4] = 255
  found, width = fit(Image.fromarray(pixels), 32, 96)
  assert found.shape == (32, 96, 3) and found.dtype == np.uint8
  assert width == shown[1]
  assert (found[:, shown[1] :] == found[0, -1]).all()
  rows = np.flatnonzero((found[:, width // 2] > 150).all(axis=-1))
  if rows.size:
    assert abs(rows.mean() - 15.5) < 1


def test_the_padding_is_of_the_border_not_of_the_ink():
  pixels = np.full((32, 40, 3), (10, 200, 30), np.uint8)
  pixels[4:28, 4:36] = 0
  pixels[:, 20:24] = 0  # a stroke that reaches the border leaves it as it is
  found, width = fit(Image.fromarray(pixels), 32, 96)
  assert width == 40
  assert (found[:, 40:] == (10, 200, 30)).all()


@pytest.mark.parametrize('size', [(40, 32), (41, 32), (7, 32)])
def test_the_padding_is_the_median_of_the_border(size):
  wide, tall = size
  pixels = RNG.integers(0, 256, (tall, wide, 3)).astype(np.uint8)
  found, _ = fit(Image.fromarray(pixels), 32, 96)
  border = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
  median = np.median(np.concatenate(border), axis=0).astype(np.uint8)
  assert (found[:, wide:] == median).all()


@pytest.mark.parametrize('size', [(1, 1), (1, 5000), (5000, 1), (3, 2)])
def test_extreme_sizes(size):
  found, width = fit(Image.new('RGB', size, 'red'), 32, 96)
  assert found.shape == (32, 96, 3)
  assert 1 <= width <= 96


def test_photographs_wait_for_each_other_and_small_pictures_do_not():
  """Threads would each hold a decoded photograph otherwise."""
  room, lock = images.Room(10), threading.Lock()
  held, most = 0, 0

  def decode(size):
    nonlocal held, most
    with room.taken(size):
      with lock:
        held += size
        most = max(most, held)
      time.sleep(0.01)
      with lock:
        held -= size

  cases = ((8 * (1,), 2, 8), (8 * (6,), 6, 6), ((50,), 50, 50))
  for sizes, least, limit in cases:
    most = 0
    with ThreadPoolExecutor(8) as threads:
      list(threads.map(decode, sizes))
    assert least <= most <= limit


def test_a_decoder_that_fails_gives_its_memory_back():
  buffer = io.BytesIO()
  _picture().save(buffer, 'PNG')
  for _ in range(9):
    with pytest.raises(BadImage):
      read_image(buffer.getvalue()[:-60])
  with images.ROOM.taken(10**12):
    pass
