"""Files of every kind, whole and broken, and how they are framed."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from ssljax.data import images
from ssljax.data.images import BadImage, fit, read_image, to_rgb

RNG = np.random.default_rng(0)


def _picture(height=20, width=30):
  ramp = np.linspace(0, 255, width)[None, :, None]
  tint = np.array([1.0, 0.7, 0.4])
  pixels = np.broadcast_to(ramp * tint, (height, width, 3))
  return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize('suffix', [*images.FORMATS, '.PNG', '.JPG'])
def test_every_format_is_read(tmp_path, suffix):
  path = tmp_path / f'picture{suffix}'
  _picture().save(path, format=images.FORMATS[suffix.lower()])
  found = read_image(path)
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


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
  values = np.linspace(0, 65535, 16).astype(np.uint16)[None].repeat(4, axis=0)
  path = tmp_path / 'deep.png'
  Image.fromarray(values).save(path)
  found = np.asarray(read_image(path))
  expected = np.linspace(0, 255, 16)[None, :, None]
  assert np.abs(found - expected).max() <= 1


def test_transparency_is_white(tmp_path):
  pixels = np.zeros((4, 6, 4), np.uint8)
  pixels[:, 3:, 3] = 255  # the right half is opaque black
  path = tmp_path / 'clear.png'
  Image.fromarray(pixels).save(path)
  found = np.asarray(read_image(path))
  assert (found[:, :3] == 255).all()
  assert (found[:, 3:] == 0).all()


def test_a_transparent_colour_of_a_palette_is_white(tmp_path):
  image = Image.new('P', (4, 4), 0)
  image.putpalette([10, 20, 30] + [0] * 765)
  path = tmp_path / 'clear.gif'
  image.save(path, transparency=0)
  assert (np.asarray(read_image(path)) == 255).all()


def test_the_first_frame_of_an_animation(tmp_path):
  frames = [Image.new('RGB', (8, 8), colour) for colour in ('red', 'blue')]
  path = tmp_path / 'moving.gif'
  frames[0].save(path, save_all=True, append_images=frames[1:])
  assert np.asarray(read_image(path))[0, 0].tolist() == [255, 0, 0]


def test_exif_orientation_is_applied(tmp_path):
  path = tmp_path / 'turned.jpg'
  exif = Image.Exif()
  exif[0x0112] = 6  # a quarter turn
  _picture().save(path, exif=exif)
  assert read_image(path).size == (20, 30)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp', '.webp', '.gif'])
@pytest.mark.parametrize('part', [0.5, 0.9])
def test_a_truncated_file(tmp_path, suffix, part):
  pixels = RNG.integers(0, 256, (40, 60, 3)).astype(np.uint8)
  path = tmp_path / f'cut{suffix}'
  Image.fromarray(pixels).save(path)
  path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
  with pytest.raises(BadImage, match=r'found .* replace it'):
    read_image(path)


def test_no_image_at_all(tmp_path):
  for content in (b'', b'hello'):
    path = tmp_path / 'text.png'
    path.write_bytes(content)
    with pytest.raises(BadImage, match='no PNG image in it'):
      read_image(path)


def test_a_wrong_suffix(tmp_path):
  path = tmp_path / 'picture.jpg'
  _picture().save(path, format='PNG')
  with pytest.raises(BadImage, match=r'^found PNG in a \.jpg; rename'):
    read_image(path)


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
  _picture().save(path, format='TIFF')
  with pytest.raises(BadImage, match='no PNG image in it'):
    read_image(path)


@pytest.mark.parametrize('name', ['a.tiff', 'a.svg', 'a'])
def test_other_formats_are_refused_by_name(tmp_path, name):
  path = tmp_path / name
  _picture().save(path, format='TIFF')
  suffix = path.suffix or 'file without suffix'
  with pytest.raises(BadImage, match=f'{suffix}; expected one of .png'):
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


@pytest.mark.parametrize('size', [(1, 1), (1, 5000), (5000, 1), (3, 2)])
def test_extreme_sizes(size):
  found, width = fit(Image.new('RGB', size, 'red'), 32, 96)
  assert found.shape == (32, 96, 3)
  assert 1 <= width <= 96
