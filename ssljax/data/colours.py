"""Brings a picture of any mode to RGB: depth, transparency, colour profile."""

import io
import math
from typing import Any

import numpy as np
from PIL import Image, ImageCms

# A picture of 16 bits may hold fewer: the least of these that its values need.
DEPTHS = (8, 10, 12, 14, 16, 32)
# On a ground, a pixel stands out if its brightness differs by this much, and a
# picture is seen if this share of what is visible of it stands out.
STANDS_OUT, SEEN = 64, 0.01
LOOKED_AT = 2**20  # pixels from which the ground is chosen


def to_rgb(image: Image.Image) -> Image.Image:
  """Converts an image of any mode to RGB.

  - Values of more than 8 bits are scaled by the number of bits that they need,
    because programs also save pictures of 8 or 12 bits as 16.
  - Transparent pixels show white, or black where the visible pixels would not
    be seen on white.
  - A colour profile is converted to sRGB, unless it is broken.
  """
  profile = image.info.get('icc_profile')
  if image.mode.startswith('I') or image.mode == 'F':
    image = _scaled(image)
  elif image.has_transparency_data:
    if image.mode != 'RGBA':
      image = image.convert('RGBA')
    alpha = image.getchannel('A')
    return _on_ground(_in_srgb(image.convert('RGB'), profile), alpha)
  return _in_srgb(image, profile).convert('RGB')


def _scaled(image: Image.Image) -> Image.Image:
  """An image of integers or floats as 8 bits of gray."""
  values = np.asarray(image)
  if values.dtype.kind == 'f':
    values = np.nan_to_num(values, posinf=0, neginf=0)
  low, high = min(0, values.min()), values.max()
  if image.mode == 'F' and low == 0 and high <= 1:
    top = 1.0
  else:
    bits = int(high - low).bit_length()
    top = 2.0 ** next(depth for depth in (*DEPTHS, bits) if depth >= bits) - 1
  # A row at a time, because the whole would take eight bytes for each pixel.
  gray = np.empty(values.shape, np.uint8)
  for row, out in zip(values, gray, strict=True):
    out[:] = (row.astype(np.float64) - low) * (255 / top)
  return Image.fromarray(gray)


def _on_ground(image: Image.Image, alpha: Image.Image) -> Image.Image:
  """Lays an RGB image on white or on black, whichever shows what it shows."""
  # Of a large picture, some rows and columns are enough.
  step = math.ceil(math.sqrt(image.width * image.height / LOOKED_AT))
  light, cover = (
    np.asarray(channel)[::step, ::step].astype(np.uint16)
    for channel in (image.convert('L'), alpha)
  )
  on_white, on_black = cover * (255 - light) // 255, cover * light // 255
  seen = (on_white >= STANDS_OUT).sum() >= SEEN * np.count_nonzero(cover)
  ground = 'white'
  if not seen and on_black.sum() > on_white.sum():
    ground = 'black'
  below = Image.new('RGB', image.size, ground)
  below.paste(image, mask=alpha)
  return below


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
  """Converts an image's colours from its profile to sRGB."""
  if not profile or len(profile) > 2**22:
    return image
  try:
    source = ImageCms.getOpenProfile(io.BytesIO(profile))
    found: Any = source.profile  # it has no types
    space = found.xcolor_space.strip()
    if 'sRGB' in (found.profile_description or ''):
      return image
    # Gray may have the profile of RGB: its colours are then the gray ones.
    wanted = {'RGB': 'RGB', 'GRAY': 'L', 'CMYK': 'CMYK'}[space]
    if (image.mode == 'CMYK') != (wanted == 'CMYK'):
      return image
    converted = ImageCms.profileToProfile(
      image.convert(wanted), source, _SRGB, outputMode='RGB'
    )
  # Pillow lets through what it meets in a broken profile, whatever it is.
  except Exception:
    return image
  return converted or image


_SRGB = ImageCms.createProfile('sRGB')
